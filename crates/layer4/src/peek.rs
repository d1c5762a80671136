//! The beginning of TLS, read without speaking it: which server a client asks for.
//!
//! A ClientHello (RFC 8446 §4.1.2) is one handshake message in one record or several, which may come in any number of
//! packets. Post-quantum key shares and encrypted hellos (ECH) make it several KiB; what an encrypted hello shows is the
//! name of whoever fronts it, and that is the one that counts here. Bytes are looked at once each, whatever packets they come
//! in.

/// Bytes of a ClientHello, records around it included, that are read before it is given up.
pub const HELLO_BYTES_MAX: usize = 64 * 1024;
/// Longest payload of a record (RFC 8446 §5.1).
const RECORD_BYTES_MAX: usize = 16 * 1024;
const RECORD_HEADER: usize = 5;
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
/// The extension with the server's name (RFC 6066 §3).
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;
/// Longest name (RFC 1035 §2.3.4).
const NAME_BYTES_MAX: usize = 253;

/// What the bytes so far show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// It takes more of them to tell.
    NotYet,
    /// This is no TLS.
    NotTls,
    /// TLS, and the name that is asked for, in lower case, when there is one.
    Hello {
        /// The name.
        server_name: Option<String>,
    },
    /// It begins as TLS does, and goes on as nothing that a server could answer.
    Malformed,
}

/// Reads the beginning of a connection.
#[derive(Debug, Default)]
pub struct Peek {
    /// Bytes of whole records that were looked at.
    taken: usize,
    /// The handshake message, as far as it is there.
    message: Vec<u8>,
}

impl Peek {
    /// Looks at all bytes of the connection so far; those of the last time must be among them, unchanged.
    pub fn look(&mut self, all: &[u8]) -> Seen {
        loop {
            if let Some(seen) = self.hello() {
                return seen;
            }
            let Some(record) = all.get(self.taken..) else { return Seen::Malformed };
            // Before anything is waited for: what is no TLS says so with its first bytes.
            let begins = |at: usize, fits: fn(u8) -> bool| record.get(at).is_none_or(|byte| fits(*byte));
            if !begins(0, |byte| byte == HANDSHAKE)
                || !begins(1, |byte| byte == 3)
                || !begins(2, |byte| byte <= 4)
            {
                return if self.taken == 0 { Seen::NotTls } else { Seen::Malformed };
            }
            let Some(&[_, _, _, high, low]) = record.first_chunk::<RECORD_HEADER>() else {
                return Seen::NotYet;
            };
            let length = usize::from(u16::from_be_bytes([high, low]));
            // No handshake message is spread over records without anything in them (§5.1).
            if length == 0 || length > RECORD_BYTES_MAX {
                return if self.taken == 0 { Seen::NotTls } else { Seen::Malformed };
            }
            if self.taken == 0 && record.get(RECORD_HEADER).is_some_and(|kind| *kind != CLIENT_HELLO) {
                return Seen::NotTls;
            }
            if self.taken + RECORD_HEADER + length > HELLO_BYTES_MAX {
                return Seen::Malformed;
            }
            let Some(payload) = record.get(RECORD_HEADER..RECORD_HEADER + length) else {
                return Seen::NotYet;
            };
            self.message.extend_from_slice(payload);
            self.taken += RECORD_HEADER + length;
        }
    }

    /// What the message is, once it is whole.
    fn hello(&self) -> Option<Seen> {
        let &[kind, a, b, c] = self.message.first_chunk::<4>()?;
        if kind != CLIENT_HELLO {
            return Some(Seen::Malformed);
        }
        let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        if length > HELLO_BYTES_MAX {
            return Some(Seen::Malformed);
        }
        let body = self.message.get(4..4 + length)?;
        Some(match server_name(body) {
            Ok(server_name) => Seen::Hello { server_name },
            Err(Malformed) => Seen::Malformed,
        })
    }
}

struct Malformed;

/// Takes parts off the front.
struct Parts<'a>(&'a [u8]);

impl<'a> Parts<'a> {
    fn bytes(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (front, rest) = self.0.split_at_checked(count).ok_or(Malformed)?;
        self.0 = rest;
        Ok(front)
    }

    /// A number of so many bytes.
    fn number(&mut self, bytes: usize) -> Result<usize, Malformed> {
        Ok(self.bytes(bytes)?.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)))
    }

    /// A part with its length, of so many bytes, in front.
    fn part(&mut self, length_bytes: usize) -> Result<&'a [u8], Malformed> {
        let length = self.number(length_bytes)?;
        self.bytes(length)
    }
}

/// The name that a ClientHello asks for.
fn server_name(body: &[u8]) -> Result<Option<String>, Malformed> {
    let mut body = Parts(body);
    // Version and random bytes.
    body.bytes(2 + 32)?;
    let session = body.part(1)?;
    let suites = body.part(2)?;
    let compressions = body.part(1)?;
    if session.len() > 32 || suites.len() < 2 || suites.len() % 2 != 0 || compressions.is_empty() {
        return Err(Malformed);
    }
    if body.0.is_empty() {
        // Before there were extensions.
        return Ok(None);
    }
    let mut extensions = Parts(body.part(2)?);
    if !body.0.is_empty() {
        return Err(Malformed);
    }
    let mut found = None;
    while !extensions.0.is_empty() {
        let kind = extensions.number(2)?;
        let content = extensions.part(2)?;
        if kind == usize::from(SERVER_NAME) {
            // One that comes twice would be another one to whoever answers (§4.2).
            if found.is_some() {
                return Err(Malformed);
            }
            found = Some(name(content)?);
        }
    }
    Ok(found.flatten())
}

fn name(content: &[u8]) -> Result<Option<String>, Malformed> {
    let mut content = Parts(content);
    let mut list = Parts(content.part(2)?);
    if !content.0.is_empty() || list.0.is_empty() {
        return Err(Malformed);
    }
    let mut host = None;
    while !list.0.is_empty() {
        let kind = list.number(1)?;
        let text = list.part(2)?;
        if kind == usize::from(HOST_NAME) {
            if host.is_some() {
                return Err(Malformed);
            }
            host = Some(text);
        }
    }
    let Some(host) = host else { return Ok(None) };
    // A dot at the end says the same.
    let host = host.strip_suffix(b".").unwrap_or(host);
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    if host.is_empty() || host.len() > NAME_BYTES_MAX || !host.iter().all(is_plain) {
        return Err(Malformed);
    }
    Ok(Some(String::from_utf8_lossy(host).to_ascii_lowercase()))
}
