//! W3C Trace Context: reads and writes `traceparent` (Recommendation of 23 November 2021, §3.2).

use model::TraceContext;

/// What a caller's `traceparent` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parent {
    /// The trace.
    pub trace_id: [u8; 16],
    /// The caller's span.
    pub span_id: [u8; 8],
    /// Whether the caller records it.
    pub sampled: bool,
}

/// Reads a header; `None` when it is malformed, which begins a new trace.
pub fn parse_traceparent(value: &[u8]) -> Option<Parent> {
    let [version] = hex::<1>(value.get(..2)?)?;
    // A later version may have more after what this one knows (§3.2.4); version 0xff is forbidden.
    let has_right_length = match version {
        0 => value.len() == 55,
        0xff => false,
        _ => value.len() == 55 || value.get(55) == Some(&b'-'),
    };
    if !has_right_length || value[2] != b'-' || value[35] != b'-' || value[52] != b'-' {
        return None;
    }
    let trace_id = hex::<16>(&value[3..35])?;
    let span_id = hex::<8>(&value[36..52])?;
    let [flags] = hex::<1>(&value[53..55])?;
    let is_zero = trace_id == [0; 16] || span_id == [0; 8];
    (!is_zero).then_some(Parent { trace_id, span_id, sampled: flags & 1 == 1 })
}

fn hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    // Upper-case digits are not allowed (§3.2.2.2).
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    if text.len() != 2 * N {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

/// Writes the header for the next hop.
pub fn write_traceparent(trace: &TraceContext) -> [u8; 55] {
    let mut out = *b"00-00000000000000000000000000000000-0000000000000000-00";
    write_hex(&trace.trace_id, &mut out[3..35]);
    write_hex(&trace.span_id, &mut out[36..52]);
    out[54] += u8::from(trace.sampled);
    out
}

/// Writes bytes as lower-case hexadecimal digits, two for each.
pub(crate) fn write_hex(bytes: &[u8], out: &mut [u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (byte, pair) in bytes.iter().zip(out.chunks_exact_mut(2)) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn what_is_written_is_read_back() {
        let parent = parse_traceparent(GOOD.as_bytes()).expect("good");
        assert!(parent.sampled);
        let trace = TraceContext {
            trace_id: parent.trace_id,
            span_id: parent.span_id,
            parent_span_id: None,
            sampled: true,
        };
        assert_eq!(write_traceparent(&trace), GOOD.as_bytes());
    }

    #[test]
    fn malformed_headers_begin_a_new_trace() {
        for text in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-extra",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(parse_traceparent(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn later_versions_may_say_more() {
        assert!(parse_traceparent(GOOD.replacen("00", "01", 1).as_bytes()).is_some());
        assert!(parse_traceparent((GOOD.replacen("00", "01", 1) + "-more").as_bytes()).is_some());
        assert!(parse_traceparent((GOOD.replacen("00", "01", 1) + "more").as_bytes()).is_none());
    }
}
