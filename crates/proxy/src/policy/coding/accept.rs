//! Chooses a content coding from `Accept-Encoding` (RFC 9110 §12.5.3).

use http::{HeaderMap, header};

use super::Coding;

/// The offered coding that the client likes best; among equals the first offered. `None` means none: the body
/// stays as it is. Whether the client refuses even that is not judged: an answer is better than a 406.
pub(crate) fn choose(headers: &HeaderMap, offered: &[Coding]) -> Option<Coding> {
    let mut best: Option<(u16, Coding)> = None;
    for &coding in offered {
        let weight = weight_of(headers, coding);
        if weight > best.map_or(0, |(weight, _)| weight) {
            best = Some((weight, coding));
        }
    }
    best.map(|(_, coding)| coding)
}

/// Weight of a coding in thousandths: its own, else that of `*`, else 0.
fn weight_of(headers: &HeaderMap, coding: Coding) -> u16 {
    let mut any = 0;
    for value in headers.get_all(header::ACCEPT_ENCODING) {
        let Ok(text) = value.to_str() else { continue };
        for item in text.split(',') {
            let (name, parameters) = item.split_once(';').unwrap_or((item, ""));
            let name = name.trim();
            // A malformed weight is a coding not wanted, which is the safe reading.
            if Coding::named(name) == Some(coding) {
                return weight(parameters).unwrap_or(0);
            }
            if name == "*" {
                any = weight(parameters).unwrap_or(0);
            }
        }
    }
    any
}

/// `q=0.5` in thousandths; nothing stated is 1 (RFC 9110 §12.4.2).
fn weight(parameters: &str) -> Option<u16> {
    let parameters = parameters.trim();
    if parameters.is_empty() {
        return Some(1000);
    }
    let digits = parameters.strip_prefix(['q', 'Q'])?.trim_start().strip_prefix('=')?.trim();
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let thousandths = format!("{fraction:0<3}").parse::<u16>().ok()?;
    match whole {
        "0" => Some(thousandths),
        "1" if thousandths == 0 => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn chosen(values: &[&str]) -> Option<&'static str> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::ACCEPT_ENCODING, HeaderValue::from_str(value).expect("a value"));
        }
        choose(&headers, &[Coding::Zstd, Coding::Brotli, Coding::Gzip]).map(Coding::name)
    }

    #[test]
    fn the_weight_decides_and_the_offered_order_breaks_ties() {
        for (values, want) in [
            (&[][..], None),
            (&["gzip"][..], Some("gzip")),
            (&["x-gzip"][..], Some("gzip")),
            (&["gzip, br, zstd"][..], Some("zstd")),
            (&["gzip;q=1.0, br;q=0.8, zstd;q=0.1"][..], Some("gzip")),
            (&["gzip;q=0, br;q=0"][..], None),
            (&["gzip;q=0.000"][..], None),
            (&["*"][..], Some("zstd")),
            (&["*;q=0.5, zstd;q=0"][..], Some("br")),
            (&["identity"][..], None),
            (&["GZIP ; q=0.3"][..], Some("gzip")),
            (&["deflate", "gzip"][..], Some("gzip")),
            (&["gzip;q=2"][..], None),
            (&["gzip;q=0.1234"][..], None),
            (&["gzip;q=abc"][..], None),
            (&["gzip;level=9"][..], None),
        ] {
            assert_eq!(chosen(values), want, "{values:?}");
        }
    }
}
