//! What a listener says about HTTP/3, compiled: the endpoint's settings, and the header that tells of it.

use std::sync::{Arc, OnceLock};

use aws_lc_rs::hkdf;
use http::HeaderValue;
use model::{Snapshot, resource::http3::Retry};
use quinn::{
    IdleTimeout, ServerConfig, TransportConfig, ValidationTokenConfig, VarInt,
    crypto::rustls::QuicServerConfig,
};

use crate::{listener::Limits, tls};

/// Streams of one direction that a client has open at a time: it needs three.
const UNI_STREAMS_MAX: u32 = 8;
/// Handshake messages that come out of order.
const CRYPTO_BUFFER_BYTES: usize = 32 * 1024;
/// First datagrams that wait to be looked at, and bytes that come after them meanwhile.
const INCOMING_MAX: usize = 1024;
const INCOMING_BYTES: u64 = 16 * 1024;
const ALL_INCOMING_BYTES: u64 = 4 * 1024 * 1024;
/// Tokens by which a client shows at its next connection that it has its address.
const TOKENS_PER_CONNECTION: u32 = 1;

/// How a listener speaks HTTP/3.
pub(crate) struct Http3 {
    pub(crate) server: Arc<ServerConfig>,
    pub(crate) alt_svc: Option<HeaderValue>,
    pub(crate) early_data: bool,
    pub(crate) retry: Retry,
    pub(crate) max_handshakes_per_address: u32,
}

impl Http3 {
    /// Builds it, where a listener wants it.
    pub(crate) fn compile(
        listener: &model::Listener,
        compiled: Option<&tls::server::ListenerTlsConfig>,
        limits: &Limits,
        snapshot: &Snapshot,
    ) -> Result<Option<Self>, String> {
        let Some(settings) = listener.http3() else { return Ok(None) };
        let wrong = |error: String| format!("http3: {error}");
        let (Some(tls), Some(compiled)) = (&listener.tls, compiled) else {
            return Err(wrong("it needs `tls`".into()));
        };
        let crypto = tls::server::for_quic(tls, settings.early_data, &compiled.certificates, snapshot)
            .map_err(wrong)?;
        // The first packets of every connection are sealed with this one suite, whatever is chosen later.
        let initial =
            tls::initial_suite().ok_or_else(|| wrong("TLS_AES_128_GCM_SHA256 is missing".into()))?;
        let crypto = QuicServerConfig::with_initial(Arc::new(crypto), initial)
            .map_err(|error| wrong(error.to_string()))?;
        let mut server = ServerConfig::new(Arc::new(crypto), token_key().map_err(wrong)?);
        let mut tokens = ValidationTokenConfig::default();
        tokens.sent(TOKENS_PER_CONNECTION);
        server
            .transport_config(Arc::new(transport(&settings, limits).map_err(wrong)?))
            .validation_token_config(tokens)
            .max_incoming(INCOMING_MAX)
            .incoming_buffer_size(INCOMING_BYTES)
            .incoming_buffer_size_total(ALL_INCOMING_BYTES);
        let own_port = || listener.address.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        let port = settings.port.or_else(own_port).filter(|_| settings.alt_svc);
        let max_age = settings.max_age.get().as_secs();
        let told = |port: u16| HeaderValue::from_str(&format!("h3=\":{port}\"; ma={max_age}")).ok();
        Ok(Some(Self {
            server: Arc::new(server),
            alt_svc: port.and_then(told),
            early_data: settings.early_data,
            retry: settings.retry,
            max_handshakes_per_address: settings.max_handshakes_per_address,
        }))
    }
}

fn transport(settings: &model::resource::http3::Http3, limits: &Limits) -> Result<TransportConfig, String> {
    let idle = IdleTimeout::try_from(limits.idle_timeout)
        .map_err(|_| "`limits.idleTimeout` is longer than QUIC can say".to_owned())?;
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(limits.max_concurrent_streams.into())
        .max_concurrent_uni_streams(UNI_STREAMS_MAX.into())
        .stream_receive_window(window(settings.stream_window))
        .receive_window(window(settings.connection_window))
        .send_window(settings.send_window.bytes())
        .crypto_buffer_size(CRYPTO_BUFFER_BYTES)
        .datagram_receive_buffer_size(None)
        .max_idle_timeout(Some(idle))
        // An answer that takes its time says nothing for long, and its connection must not die of it.
        .keep_alive_interval(Some(limits.idle_timeout / 3));
    Ok(transport)
}

fn window(size: model::Size) -> VarInt {
    VarInt::from_u64(size.bytes()).unwrap_or(VarInt::MAX)
}

/// Seals the tokens of Retry and of later connections; one for all workers, as the next connection of a client may
/// reach any of them.
fn token_key() -> Result<Arc<hkdf::Prk>, String> {
    static KEY: OnceLock<Arc<hkdf::Prk>> = OnceLock::new();
    if let Some(key) = KEY.get() {
        return Ok(key.clone());
    }
    let mut secret = [0; 64];
    aws_lc_rs::rand::fill(&mut secret).map_err(|_| "the system gives no random numbers".to_owned())?;
    Ok(KEY.get_or_init(|| Arc::new(hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(&secret))).clone())
}
