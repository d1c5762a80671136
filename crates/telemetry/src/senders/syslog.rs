//! Syslog (RFC 5424): a message per record, over UDP (RFC 5426), TCP (RFC 6587, octet counting), TLS (RFC 5425), or a
//! Unix socket.

use std::{io, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use model::{
    CallRecord, EndpointAddress,
    resource::access_log::syslog::{Syslog as Settings, SyslogTransport},
};
use sinks::{Courier, Outcome, Sending};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UdpSocket, UnixDatagram, UnixStream, lookup_host},
};

use super::{Building, Built};
use crate::{
    json,
    receiver::{ReceiverTls, Speaks, Stream, TlsWish, connect},
};

/// Severities (RFC 5424 §6.2.1).
const ERROR: u8 = 3;
const INFO: u8 = 6;

struct Syslog {
    address: EndpointAddress,
    is_stream: bool,
    tls: Option<ReceiverTls>,
    link: Option<Link>,
}

enum Link {
    Udp(UdpSocket),
    Unix(UnixDatagram),
    Stream(Box<dyn Stream>),
}

pub(super) fn build(settings: &Settings, cx: Building<'_>) -> Result<Built, String> {
    let tls = match (settings.transport, &settings.address) {
        (SyslogTransport::Tls, address) => {
            let host = match address {
                EndpointAddress::Ip(ip, _) => ip.to_string(),
                EndpointAddress::Name(name, _) => name.clone(),
                EndpointAddress::Unix(_) => return Err("transport: a Unix socket has no TLS".into()),
            };
            let wish = TlsWish { settings: settings.tls.as_ref(), host: &host, speaks: Speaks::Other };
            Some((cx.tls)(&wish, cx.snapshot)?)
        }
        _ => None,
    };
    let courier = Syslog {
        address: settings.address.clone(),
        is_stream: settings.transport != SyslogTransport::Udp,
        tls,
        link: None,
    };
    let hostname = settings.hostname.clone().or_else(hostname).unwrap_or_else(|| "-".to_owned());
    // HOSTNAME, APP-NAME, PROCID, MSGID, and no structured data.
    let who = format!(" {hostname} {} {} access - ", settings.app_name, std::process::id());
    let head = Head { facility: settings.facility.number(), who: who.into() };
    let (line, longest) = (cx.line, settings.message_size.get());
    Ok(Built {
        encode: Box::new(move |call, out| {
            head.write(call, out);
            line.write(call, out);
            cut(out, longest);
        }),
        courier: Box::new(courier),
        timeout: settings.timeout.get(),
    })
}

/// What a message begins with.
struct Head {
    facility: u8,
    who: Arc<str>,
}

impl Head {
    fn write(&self, call: &CallRecord, out: &mut Vec<u8>) {
        let severity = if call.status.is_server_error() { ERROR } else { INFO };
        out.push(b'<');
        json::number(u64::from(self.facility * 8 + severity), out);
        out.extend_from_slice(b">1 ");
        json::time(call.started, out);
        out.extend_from_slice(self.who.as_bytes());
    }
}

/// The machine's name, where it is one that a message can have.
fn hostname() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    let name = name.trim();
    let is_good = (1..=255).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic());
    is_good.then(|| name.to_owned())
}

/// Cuts a message between two letters.
fn cut(message: &mut Vec<u8>, longest: usize) {
    if message.len() <= longest {
        return;
    }
    let mut end = longest;
    while end > 0 && message[end] & 0xc0 == 0x80 {
        end -= 1;
    }
    message.truncate(end);
}

impl Courier for Syslog {
    fn send<'a>(&'a mut self, batch: &'a [Bytes]) -> Sending<'a> {
        Box::pin(async move {
            match self.deliver(batch).await {
                Ok(outcome) => outcome,
                Err(why) => {
                    self.link = None;
                    Outcome::Again { after: None, why }
                }
            }
        })
    }

    fn reset(&mut self) {
        self.link = None;
    }
}

impl Syslog {
    async fn deliver(&mut self, batch: &[Bytes]) -> Result<Outcome, String> {
        if let Some(Link::Stream(stream)) = &mut self.link
            && is_over(stream).await
        {
            self.link = None;
        }
        let link = match &mut self.link {
            Some(link) => link,
            None => {
                let link = self.open().await?;
                self.link.insert(link)
            }
        };
        match link {
            Link::Udp(socket) => datagrams(batch, async |message| socket.send(message).await).await,
            Link::Unix(socket) => datagrams(batch, async |message| socket.send(message).await).await,
            Link::Stream(stream) => {
                let writing = async {
                    stream.write_all(&frames(batch)).await?;
                    stream.flush().await
                };
                writing.await.map_err(|error: io::Error| error.to_string())?;
                Ok(Outcome::Taken)
            }
        }
    }

    async fn open(&self) -> Result<Link, String> {
        let wrong = |error: io::Error| format!("cannot connect to {}: {error}", self.address);
        let (host, port) = match &self.address {
            EndpointAddress::Unix(path) if self.is_stream => {
                let stream = UnixStream::connect(path).await.map_err(wrong)?;
                return Ok(Link::Stream(Box::new(stream)));
            }
            EndpointAddress::Unix(path) => {
                let socket = UnixDatagram::unbound().map_err(wrong)?;
                socket.connect(path).map_err(wrong)?;
                return Ok(Link::Unix(socket));
            }
            EndpointAddress::Ip(ip, port) => (ip.to_string(), *port),
            EndpointAddress::Name(name, port) => (name.clone(), *port),
        };
        if self.is_stream {
            return Ok(Link::Stream(connect(&host, port, self.tls.as_ref()).await?));
        }
        let address = lookup_host((host, port)).await.map_err(wrong)?.next();
        let address = address.ok_or_else(|| format!("`{}` has no address", self.address))?;
        let any: SocketAddr = match address {
            SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
            SocketAddr::V6(_) => ([0_u16; 8], 0).into(),
        };
        let socket = UdpSocket::bind(any).await.map_err(wrong)?;
        socket.connect(address).await.map_err(wrong)?;
        Ok(Link::Udp(socket))
    }
}

/// Sends a datagram for each message; one that is too long for that is left out.
async fn datagrams(
    batch: &[Bytes],
    send: impl AsyncFn(&[u8]) -> io::Result<usize>,
) -> Result<Outcome, String> {
    let mut rejected = 0;
    for message in batch {
        match send(message).await {
            Ok(_) => {}
            // EMSGSIZE has no kind of its own that is stable.
            Err(error) if error.raw_os_error() == Some(90) => rejected += 1,
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(match rejected {
        0 => Outcome::Taken,
        _ => Outcome::Partly { rejected, why: "too long for a datagram".to_owned() },
    })
}

/// Messages, each behind the number of its bytes.
fn frames(batch: &[Bytes]) -> Vec<u8> {
    let mut frames = Vec::with_capacity(batch.iter().map(|message| message.len() + 8).sum());
    for message in batch {
        json::number(message.len() as u64, &mut frames);
        frames.push(b' ');
        frames.extend_from_slice(message);
    }
    frames
}

/// Whether the other side has ended a stream, as far as that is known without waiting. It has nothing to say else.
async fn is_over(stream: &mut Box<dyn Stream>) -> bool {
    let mut said = [0; 64];
    tokio::select! {
        biased;
        read = stream.read(&mut said) => !matches!(read, Ok(1..)),
        () = std::future::ready(()) => false,
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::access::test_call;

    #[test]
    fn a_message_has_priority_time_and_who_it_is_from() {
        let head = Head { facility: 16, who: " edge tidegate 7 access - ".into() };
        let written = |status: StatusCode| {
            let mut out = Vec::new();
            head.write(&CallRecord { status, ..test_call() }, &mut out);
            String::from_utf8(out).expect("text")
        };
        let want = "<134>1 2024-02-29T00:00:00.000Z edge tidegate 7 access - ";
        assert_eq!(written(StatusCode::OK), want);
        assert_eq!(written(StatusCode::BAD_GATEWAY), want.replace("134", "131"));
    }

    #[test]
    fn a_message_is_cut_between_letters() {
        for (longest, want) in
            [(9, "abcd\u{e4}\u{1f600}"), (10, "abcd\u{e4}\u{1f600}"), (5, "abcd"), (6, "abcd\u{e4}")]
        {
            let mut message = "abcd\u{e4}\u{1f600}".as_bytes().to_vec();
            cut(&mut message, longest);
            let want = if longest == 9 { "abcd\u{e4}" } else { want };
            assert_eq!(String::from_utf8(message).expect("text"), want, "{longest}");
        }
    }

    #[test]
    fn on_a_stream_each_message_stands_behind_its_length() {
        let batch = [Bytes::from("<134>1 a"), Bytes::from("\u{e4}")];
        assert_eq!(frames(&batch), "8 <134>1 a2 \u{e4}".as_bytes());
    }
}
