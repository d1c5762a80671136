//! The PROXY protocol, versions 1 and 2 (HAProxy, "The PROXY protocol", 2020/03/05).
//!
//! Reading is strict and bounded; what a header says is believed only from peers that the caller trusts.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use model::resource::upstream::ProxyProtocolVersion;

/// Longest header of version 1, line end included (§2.1).
const V1_BYTES_MAX: usize = 107;
/// First bytes of version 2 (§2.2).
const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Longest part after the fixed one of version 2 that is taken: addresses and TLVs.
const V2_BYTES_MAX: usize = 4000;

/// What a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Header {
    /// The client, unless the proxy speaks for itself or for a client without an address.
    pub(crate) source: Option<SocketAddr>,
    /// Where the client connected to.
    pub(crate) destination: Option<SocketAddr>,
}

/// Why bytes are not a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    #[error("the bytes do not begin with a PROXY header")]
    Absent,
    #[error("the line of a version 1 header is malformed")]
    Line,
    #[error("a version 2 header is malformed")]
    Binary,
    #[error("a version 2 header is longer than {V2_BYTES_MAX} bytes")]
    TooLong,
}

/// Reads a header; `None` asks for more bytes. Returns how many bytes it took.
pub(crate) fn parse(bytes: &[u8]) -> Result<Option<(Header, usize)>, Error> {
    let known = bytes.len().min(V2_SIGNATURE.len());
    if known > 0 && bytes[..known] == V2_SIGNATURE[..known] {
        return v2(bytes);
    }
    let known = bytes.len().min(6);
    if bytes[..known] != b"PROXY "[..known] {
        return Err(Error::Absent);
    }
    v1(bytes)
}

fn v1(bytes: &[u8]) -> Result<Option<(Header, usize)>, Error> {
    let searched = &bytes[..bytes.len().min(V1_BYTES_MAX)];
    let Some(end) = searched.windows(2).position(|two| two == b"\r\n") else {
        return if bytes.len() >= V1_BYTES_MAX { Err(Error::Line) } else { Ok(None) };
    };
    let line = std::str::from_utf8(&bytes[..end]).map_err(|_| Error::Line)?;
    let mut words = line.split(' ').skip(1);
    let family = words.next().ok_or(Error::Line)?;
    if family == "UNKNOWN" {
        return Ok(Some((Header::default(), end + 2)));
    }
    let mut next = || words.next().ok_or(Error::Line);
    let (source, destination, source_port, destination_port) = (next()?, next()?, next()?, next()?);
    if words.next().is_some() {
        return Err(Error::Line);
    }
    let address = |text: &str, port: &str| {
        let ip = match family {
            "TCP4" => text.parse::<Ipv4Addr>().map(IpAddr::from).map_err(|_| Error::Line)?,
            "TCP6" => text.parse::<Ipv6Addr>().map(IpAddr::from).map_err(|_| Error::Line)?,
            _ => return Err(Error::Line),
        };
        let is_plain =
            port.bytes().all(|byte| byte.is_ascii_digit()) && (port == "0" || !port.starts_with('0'));
        let port = port.parse().ok().filter(|_| is_plain).ok_or(Error::Line)?;
        Ok(SocketAddr::new(ip, port))
    };
    let header = Header {
        source: Some(address(source, source_port)?),
        destination: Some(address(destination, destination_port)?),
    };
    Ok(Some((header, end + 2)))
}

fn v2(bytes: &[u8]) -> Result<Option<(Header, usize)>, Error> {
    let Some(fixed) = bytes.get(..16) else { return Ok(None) };
    let (version, command) = (fixed[12] >> 4, fixed[12] & 0xf);
    let length = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if version != 2 || command > 1 {
        return Err(Error::Binary);
    }
    if length > V2_BYTES_MAX {
        return Err(Error::TooLong);
    }
    let used = 16 + length;
    let Some(body) = bytes.get(16..used) else { return Ok(None) };
    // The proxy speaks for itself, as in health checks.
    if command == 0 {
        return Ok(Some((Header::default(), used)));
    }
    let header = match fixed[13] {
        0x11 | 0x12 => {
            let addresses: [u8; 12] = take(body)?;
            let ip = |at: usize| {
                Ipv4Addr::new(addresses[at], addresses[at + 1], addresses[at + 2], addresses[at + 3])
            };
            let port = |at: usize| u16::from_be_bytes([addresses[at], addresses[at + 1]]);
            Header { source: Some((ip(0), port(8)).into()), destination: Some((ip(4), port(10)).into()) }
        }
        0x21 | 0x22 => {
            let addresses: [u8; 36] = take(body)?;
            let ip = |at: usize| {
                let mut octets = [0; 16];
                octets.copy_from_slice(&addresses[at..at + 16]);
                Ipv6Addr::from(octets)
            };
            let port = |at: usize| u16::from_be_bytes([addresses[at], addresses[at + 1]]);
            Header { source: Some((ip(0), port(32)).into()), destination: Some((ip(16), port(34)).into()) }
        }
        // Unix sockets and what is not specified have no address that means anything here.
        0x00 | 0x31 | 0x32 => Header::default(),
        _ => return Err(Error::Binary),
    };
    Ok(Some((header, used)))
}

fn take<const N: usize>(body: &[u8]) -> Result<[u8; N], Error> {
    body.get(..N).and_then(|slice| slice.try_into().ok()).ok_or(Error::Binary)
}

/// Writes a header that speaks for a client, or for the gateway itself when there is none.
pub(crate) fn write(
    version: ProxyProtocolVersion,
    source: Option<SocketAddr>,
    destination: Option<SocketAddr>,
) -> Vec<u8> {
    let pair = source.map(|source| {
        let unspecified = match source {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        let destination =
            destination.filter(|other| other.is_ipv4() == source.is_ipv4()).unwrap_or(unspecified);
        (source, destination)
    });
    match version {
        ProxyProtocolVersion::V1 => write_v1(pair),
        ProxyProtocolVersion::V2 => write_v2(pair),
    }
}

fn write_v1(pair: Option<(SocketAddr, SocketAddr)>) -> Vec<u8> {
    let Some((source, destination)) = pair else { return b"PROXY UNKNOWN\r\n".to_vec() };
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    let (from, to) = (source.ip(), destination.ip());
    format!("PROXY {family} {from} {to} {} {}\r\n", source.port(), destination.port()).into_bytes()
}

fn write_v2(pair: Option<(SocketAddr, SocketAddr)>) -> Vec<u8> {
    let mut out = V2_SIGNATURE.to_vec();
    let Some((source, destination)) = pair else {
        out.extend([0x20, 0x00, 0, 0]);
        return out;
    };
    let mut addresses = Vec::with_capacity(36);
    for address in [source, destination] {
        match address.ip() {
            IpAddr::V4(ip) => addresses.extend(ip.octets()),
            IpAddr::V6(ip) => addresses.extend(ip.octets()),
        }
    }
    addresses.extend(source.port().to_be_bytes());
    addresses.extend(destination.port().to_be_bytes());
    out.extend([0x21, if source.is_ipv4() { 0x11 } else { 0x21 }]);
    out.extend((addresses.len() as u16).to_be_bytes());
    out.extend(addresses);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[track_caller]
    fn reads(bytes: &[u8], source: Option<&str>) {
        let mut with_more = bytes.to_vec();
        with_more.extend(b"GET / HTTP/1.1\r\n");
        let (header, used) = parse(&with_more).expect("valid").expect("whole");
        assert_eq!((header.source, used), (source.map(socket), bytes.len()));
        for cut in 0..bytes.len() {
            assert_eq!(parse(&bytes[..cut]), Ok(None), "cut at {cut}");
        }
    }

    #[test]
    fn version_1_lines_are_read() {
        reads(b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n", Some("192.0.2.7:4711"));
        reads(b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 443\r\n", Some("[2001:db8::7]:4711"));
        reads(b"PROXY UNKNOWN\r\n", None);
        reads(b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", None);
    }

    #[test]
    fn malformed_lines_are_refused() {
        for line in [
            "PROXY TCP4 192.0.2.7 198.51.100.1 4711\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 4711 443 1\r\n",
            "PROXY TCP4 192.0.2.007 198.51.100.1 4711 443\r\n",
            "PROXY TCP4 2001:db8::7 2001:db8::1 4711 443\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 04711 443\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 70000 443\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 +1 443\r\n",
            "PROXY TCP4  192.0.2.7 198.51.100.1 1 443\r\n",
            "PROXY UDP4 192.0.2.7 198.51.100.1 1 443\r\n",
        ] {
            assert_eq!(parse(line.as_bytes()), Err(Error::Line), "{line}");
        }
        assert_eq!(
            parse(&[b"PROXY TCP4 ".as_slice(), &[b'1'; 200]].concat()),
            Err(Error::Line),
            "no end in sight"
        );
        assert_eq!(parse(b"GET / HTTP/1.1\r\n"), Err(Error::Absent));
    }

    #[test]
    fn what_is_written_is_read_back() {
        for version in [ProxyProtocolVersion::V1, ProxyProtocolVersion::V2] {
            reads(&write(version, Some(socket("192.0.2.7:4711")), None), Some("192.0.2.7:4711"));
            let v6 = Some(socket("[2001:db8::7]:1"));
            reads(&write(version, v6, Some(socket("[2001:db8::1]:443"))), Some("[2001:db8::7]:1"));
            reads(&write(version, None, None), None);
        }
    }

    #[test]
    fn type_length_values_after_the_addresses_are_skipped_and_bounded() {
        let mut bytes = write(ProxyProtocolVersion::V2, Some(socket("192.0.2.7:4711")), None);
        bytes.extend([0x03, 0, 4, 1, 2, 3, 4]);
        bytes[15] += 7;
        reads(&bytes, Some("192.0.2.7:4711"));
        bytes[14] = 0xff;
        assert_eq!(parse(&bytes), Err(Error::TooLong));
    }

    #[test]
    fn malformed_binary_headers_are_refused() {
        let good = write(ProxyProtocolVersion::V2, Some(socket("192.0.2.7:4711")), None);
        for (at, byte) in [(12, 0x11), (12, 0x22), (13, 0x41), (15, 4)] {
            let mut bytes = good.clone();
            bytes[at] = byte;
            assert_eq!(parse(&bytes), Err(Error::Binary), "byte {at} = {byte:#x}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_judged_without_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300), v2: bool) {
            let prefix: &[u8] = if v2 { V2_SIGNATURE } else { b"PROXY " };
            let _ = parse(&bytes);
            let _ = parse(&[prefix, &bytes].concat());
        }
    }
}
