//! A provider of models without a model: it speaks the six dialects as their vendors do, answers what can be foreseen,
//! and takes as long about it, fails and breaks off as it is told to. Nothing of what it is asked leaves the machine.

mod conduct;
mod reply;
mod serve;
mod spoken;
mod vectors;

use std::{net::SocketAddr, rc::Rc};

use anyhow::Context;
use clap::Parser;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

use self::conduct::Conduct;

/// Speaks OpenAI's two dialects, Anthropic's, Gemini's, Bedrock's and Cohere's, without a model behind them.
///
/// A request may ask for other conduct in the field `x-mock`: `ttft=300ms, rate=50, tokens=20, error=429, cut=5`.
#[derive(Parser)]
struct Arguments {
    /// Where it listens.
    #[arg(long, default_value = "127.0.0.1:7100")]
    listen: SocketAddr,
    /// How it behaves where a request does not say: as in `x-mock`.
    #[arg(long, default_value = "")]
    conduct: String,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let conduct = Conduct::default().with(&arguments.conduct).map_err(anyhow::Error::msg)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, listen(arguments.listen, conduct))
}

async fn listen(address: SocketAddr, conduct: Conduct) -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::bind(address).await.with_context(|| address.to_string())?;
    println!("listening on http://{}", listener.local_addr()?);
    let server = Rc::new(serve::Server::new(conduct));
    loop {
        // Out of descriptors, and the like: others may end meanwhile.
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let server = server.clone();
        tokio::task::spawn_local(async move {
            let service = service_fn(move |request| {
                let server = server.clone();
                async move { Ok::<_, std::convert::Infallible>(server.answer(request).await) }
            });
            // A client that leaves, and an answer that is broken off on purpose, are nothing to tell of.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}
