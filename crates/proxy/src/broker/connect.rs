//! How a broker is connected to.

use std::{sync::Arc, time::Duration};

use async_nats::{ConnectOptions, Event, ServerAddr};
use model::{
    Snapshot,
    resource::{
        broker::{Broker, Nats},
        upstream::Protocol,
    },
};
use rustls::ClientConfig;
use tokio::sync::Notify;

use super::{Link, Waiting, dispatch};
use crate::tls::client::UpstreamTls;

/// A connection on which nothing was heard for two of these is none.
const PING: Duration = Duration::from_secs(10);
/// The longest pause of the client's own before it connects again.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// All that is needed to connect, secrets included.
pub(super) struct Connecting {
    pub(super) servers: Vec<ServerAddr>,
    who: Who,
    tls: Option<Arc<ClientConfig>>,
    timeout: Duration,
    pub(super) domain: Option<String>,
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
    pub(super) fn of(settings: &Broker, snapshot: &Snapshot) -> Result<Self, String> {
        let nats = &settings.nats;
        let text = |secret: &model::Secret| snapshot.secret(secret).to_owned();
        let address = |address: &model::EndpointAddress| {
            format!("nats://{address}")
                .parse::<ServerAddr>()
                .map_err(|error| format!("servers: `{address}`: {error}"))
        };
        let tls = match &nats.tls {
            Some(tls) => {
                let compiled = UpstreamTls::compile(tls, Protocol::Http1, snapshot)?;
                let mut config = (**compiled.connector(false).config()).clone();
                config.alpn_protocols.clear();
                Some(Arc::new(config))
            }
            None => None,
        };
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

    /// What a connection is kept by over reloads: what its secrets are now.
    pub(super) fn identity(&self, settings: &Broker, snapshot: &Snapshot) -> Vec<u8> {
        let nats = &settings.nats;
        let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
        let secrets = [&nats.password, &nats.token, &nats.nkey, &nats.credentials];
        for secret in secrets.into_iter().flatten() {
            let text = snapshot.secret(secret);
            context.update(&(text.len() as u64).to_be_bytes());
            context.update(text.as_bytes());
        }
        let files = nats.tls.iter().flat_map(|tls| [&tls.ca_file, &tls.cert_file, &tls.key_file]);
        files.flatten().for_each(|path| context.update(&snapshot.file(path)));
        context.finish().as_ref().to_vec()
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

    /// Connects, within the time that there is for each server.
    pub(super) async fn connect(&self, looked: &Arc<Notify>) -> Result<Link, String> {
        let waiting = Arc::new(Waiting::default());
        let (broken, looked) = (waiting.clone(), looked.clone());
        let options = self.options()?.event_callback(move |event| {
            if matches!(event, Event::Disconnected | Event::Closed) {
                broken.clear();
            }
            looked.notify_one();
            std::future::ready(())
        });
        let client = options.connect(self.servers.clone()).await.map_err(|error| error.to_string())?;
        let inbox = client.new_inbox();
        let answers = client.subscribe(format!("{inbox}.*")).await.map_err(|error| error.to_string())?;
        let answers = tokio::spawn(dispatch(answers, waiting.clone())).abort_handle();
        Ok(Link { client, inbox, waiting, answers })
    }
}
