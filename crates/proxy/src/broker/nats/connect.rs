//! How NATS is connected to.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_nats::{ConnectOptions, Event, ServerAddr};
use futures_util::future::BoxFuture;
use model::{Snapshot, resource::broker::Nats};
use rustls::ClientConfig;
use tokio::sync::Notify;

use super::{Nats as Connected, Waiting, dispatch};
use crate::broker::link::{Dial, Link};

/// A connection on which nothing was heard for two of these is none.
const PING: Duration = Duration::from_secs(10);
/// The longest pause of the client's own before it connects again.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// All that is needed to connect, secrets included.
pub(in crate::broker) struct Connecting {
    servers: Vec<ServerAddr>,
    who: Who,
    tls: Option<Arc<ClientConfig>>,
    timeout: Duration,
    domain: Option<String>,
}

enum Who {
    Nobody,
    User(String, String),
    Token(String),
    Key(String),
    Credentials(String),
}

impl Connecting {
    /// Reads the settings; an error begins with the key under the broker.
    pub(in crate::broker) fn of(nats: &Nats, snapshot: &Snapshot) -> Result<Self, String> {
        let text = |secret: &model::Secret| snapshot.secret(secret).to_owned();
        let address = |address: &model::EndpointAddress| {
            format!("nats://{address}")
                .parse::<ServerAddr>()
                .map_err(|error| format!("servers: `{address}`: {error}"))
        };
        let tls = crate::broker::tls(nats.tls.as_ref(), snapshot)?;
        let who = match nats {
            Nats { username: Some(name), password: Some(password), .. } => {
                Who::User(name.clone(), text(password))
            }
            Nats { token: Some(token), .. } => Who::Token(text(token)),
            Nats { nkey: Some(seed), .. } => Who::Key(text(seed)),
            Nats { credentials: Some(credentials), .. } => Who::Credentials(text(credentials)),
            _ => Who::Nobody,
        };
        let connecting = Self {
            servers: nats.servers.iter().map(address).collect::<Result<_, _>>()?,
            who,
            tls,
            timeout: nats.connect_timeout.get(),
            domain: nats.domain.clone(),
        };
        connecting.options()?;
        Ok(connecting)
    }

    fn options(&self) -> Result<ConnectOptions, String> {
        let mut options = ConnectOptions::new()
            .name("tidegate")
            .connection_timeout(self.timeout)
            .ping_interval(PING)
            // Servers that others name are none that the configuration knows.
            .ignore_discovered_servers()
            .reconnect_delay_callback(|attempts| {
                let attempts = u32::try_from(attempts.min(16)).unwrap_or(16);
                let pause = Duration::from_millis(10) * 2_u32.pow(attempts.min(8));
                if attempts <= 1 { Duration::ZERO } else { pause.min(PAUSE_MAX) }
            });
        if let Some(tls) = &self.tls {
            options = options.require_tls(true).tls_client_config((**tls).clone());
        }
        Ok(match &self.who {
            Who::Nobody => options,
            Who::User(name, password) => options.user_and_password(name.clone(), password.clone()),
            Who::Token(token) => options.token(token.clone()),
            Who::Key(seed) => options.nkey(seed.clone()),
            Who::Credentials(text) => {
                // What is wrong is told, the text is not.
                options
                    .credentials(text)
                    .map_err(|_| "credentials: expected a JWT with its seed".to_owned())?
            }
        })
    }

    async fn connected(&self, looked: &Arc<Notify>) -> Result<Connected, String> {
        let waiting = Arc::new(Waiting::default());
        let connects = Arc::new(AtomicU64::new(0));
        let (broken, counted, looked) = (waiting.clone(), connects.clone(), looked.clone());
        let options = self.options()?.event_callback(move |event| {
            match event {
                Event::Disconnected | Event::Closed => broken.clear(),
                Event::Connected => drop(counted.fetch_add(1, Ordering::Relaxed)),
                _ => {}
            }
            looked.notify_one();
            std::future::ready(())
        });
        let client = options.connect(self.servers.clone()).await.map_err(|error| error.to_string())?;
        let inbox = client.new_inbox();
        let answers = client.subscribe(format!("{inbox}.*")).await.map_err(|error| error.to_string())?;
        let answers = tokio::spawn(dispatch(answers, waiting.clone())).abort_handle();
        Ok(Connected { client, inbox, waiting, answers, connects, domain: self.domain.clone() })
    }
}

impl Dial for Connecting {
    fn connect<'a>(&'a self, looked: &'a Arc<Notify>) -> BoxFuture<'a, Result<Arc<dyn Link>, String>> {
        Box::pin(async move {
            let connected: Arc<dyn Link> = Arc::new(self.connected(looked).await?);
            Ok(connected)
        })
    }
}
