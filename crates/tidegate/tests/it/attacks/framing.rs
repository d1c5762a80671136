//! Request smuggling: bodies whose length two readers may take for different ones.

use super::row::{BAD, HIDDEN, PATH, Reaches, Row, head, play, post, row, status};

const REFUSED: &[u16] = &[400, 501];

fn lengths() -> Vec<Row> {
    let both =
        |first: &str, second: &str| post(&format!("{first}\r\n{second}\r\n"), &format!("0\r\n\r\n{HIDDEN}"));
    let length = |value: &str| post(&format!("Content-Length: {value}\r\n"), &format!("hello{HIDDEN}"));
    vec![
        row("CL.TE", "RFC 9112 §6.1", both("Content-Length: 5", "Transfer-Encoding: chunked"), BAD),
        row("TE.CL", "RFC 9112 §6.1", both("Transfer-Encoding: chunked", "Content-Length: 5"), BAD),
        row(
            "CL of 0 and TE",
            "Kettle, Browser-Powered Desync Attacks (2022)",
            both("Content-Length: 0", "Transfer-Encoding: chunked"),
            BAD,
        ),
        row(
            "TE and CL of 0",
            "Bugcrowd, TE.0 (2024)",
            both("Transfer-Encoding: chunked", "Content-Length: 0"),
            BAD,
        ),
        row("CL.CL", "RFC 9112 §6.3", both("Content-Length: 5", "Content-Length: 6"), BAD),
        row("CL.CL alike", "RFC 9112 §6.3", both("Content-Length: 5", "Content-Length: 5"), BAD),
        row("CL list", "RFC 9112 §6.3", length("5, 5"), BAD),
        row("CL plus", "CVE-2023-47627", length("+5"), BAD),
        row("CL minus", "RFC 9110 §8.6", length("-5"), BAD),
        row("CL hex", "RFC 9110 §8.6", length("0x5"), BAD),
        row("CL fraction", "RFC 9110 §8.6", length("5.0"), BAD),
        row("CL exponent", "RFC 9110 §8.6", length("5e0"), BAD),
        row("CL quoted", "RFC 9110 §8.6", length("\"5\""), BAD),
        row("CL spaces", "RFC 9110 §8.6", length("5 5"), BAD),
        row("CL empty", "RFC 9110 §8.6", length(""), BAD),
        row("CL overflow", "RFC 9110 §8.6", length("18446744073709551621"), BAD),
        row("CL underscore", "CVE-2023-47627", length("5_"), BAD),
        row("CL other digits", "RFC 9110 §8.6", length("\u{0665}"), BAD),
        row("CL vertical tab", "CVE-2019-18277", length("\u{b}5"), BAD),
        row(
            "CL space colon",
            "CVE-2019-16869",
            post("Content-Length : 5\r\n", &format!("hello{HIDDEN}")),
            BAD,
        ),
        row("CL folded", "RFC 9112 §5.2", post("Content-Length:\r\n 5\r\n", &format!("hello{HIDDEN}")), BAD),
    ]
}

fn codings() -> Vec<Row> {
    let both = |first: &str, second: &str| post(&format!("{first}\r\n{second}\r\n"), "0\r\n\r\n");
    let coding =
        |value: &str| post(&format!("Transfer-Encoding: {value}\r\n"), &format!("0\r\n\r\n{HIDDEN}"));
    vec![
        row("TE twice chunked", "RFC 9112 §6.1", coding("chunked, chunked"), BAD),
        row("TE identity", "RFC 9112 §7", coding("identity"), REFUSED),
        row("TE chunked, identity", "RFC 9112 §7", coding("chunked, identity"), REFUSED),
        row("TE identity, chunked", "RFC 9112 §7", coding("identity, chunked"), REFUSED),
        row("TE xchunked", "Kettle, HTTP Desync Attacks (2019)", coding("xchunked"), REFUSED),
        row("TE gzip", "RFC 9112 §6.1", coding("gzip"), REFUSED),
        row("TE gzip, chunked", "RFC 9112 §6.1", coding("gzip, chunked"), REFUSED),
        row("TE not last", "RFC 9112 §6.3", coding("chunked, gzip"), REFUSED),
        row("TE empty element", "RFC 9110 §5.6.1", coding(", chunked"), REFUSED),
        row("TE empty", "RFC 9112 §6.1", coding(""), REFUSED),
        row("TE vertical tab", "CVE-2019-18277", coding("\u{b}chunked"), REFUSED),
        row("TE form feed", "CVE-2019-18277", coding("chunked\u{c}"), REFUSED),
        row("TE NUL", "RFC 9110 §5.5", coding("chunked\0"), REFUSED),
        row("TE quoted", "RFC 9112 §7.1", coding("\"chunked\""), REFUSED),
        row("TE parameter", "RFC 9112 §7.1", coding("chunked;q=1"), REFUSED),
        row("TE non-breaking space", "RFC 9112 §7.1", coding("chunked\u{a0}"), REFUSED),
        row(
            "TE lines",
            "CVE-2020-8287",
            both("Transfer-Encoding: gzip", "Transfer-Encoding: chunked"),
            REFUSED,
        ),
        row(
            "TE chunked lines",
            "RFC 9112 §6.1",
            both("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
            BAD,
        ),
        row("TE space colon", "CVE-2019-16276", both("X: y", "Transfer-Encoding : chunked"), BAD),
        row("TE folded", "RFC 9112 §5.2", both("X: y", " Transfer-Encoding: chunked"), BAD),
        row("TE tab folded", "CVE-2022-32215", both("Transfer-Encoding:", "\tchunked"), BAD),
        row("TE after bare CR", "CVE-2023-30589", both("X: y\rTransfer-Encoding: chunked", "Z: z"), BAD),
        row("TE after bare LF", "CVE-2022-32214", both("X: y\nTransfer-Encoding: chunked", "Z: z"), BAD),
        row("TE non-ASCII name", "RFC 9110 §5.1", both("X: y", "Transfer\u{2010}Encoding: chunked"), BAD),
        row(
            "TE HTTP/1.0",
            "RFC 9112 §6.1",
            head(&format!("POST {PATH} HTTP/1.0"), "Host: a.test\r\nTransfer-Encoding: chunked\r\n"),
            BAD,
        ),
        // A name with an underscore is another name to us, and no framing to the upstream either.
        row(
            "TE underscore",
            "RFC 9112 §6.1",
            post("Transfer_Encoding: chunked\r\nContent-Length: 5\r\nConnection: close\r\n", "0\r\n\r\n"),
            &[200],
        )
        .reaching(Reaches::Whole),
    ]
}

fn chunks() -> Vec<Row> {
    let chunks = |name: &str, source, body: &str| {
        let bytes = post("Transfer-Encoding: chunked\r\n", &format!("{body}{HIDDEN}"));
        row(name, source, bytes, BAD).reaching(Reaches::Head)
    };
    vec![
        chunks("chunk LF", "RFC 9112 §2.2", "5\nhello\r\n0\r\n\r\n"),
        chunks("chunk CR", "RFC 9112 §2.2", "5\rhello\r\n0\r\n\r\n"),
        chunks("chunk 0x", "RFC 9112 §7.1", "0x5\r\nhello\r\n0\r\n\r\n"),
        chunks("chunk plus", "RFC 9112 §7.1", "+5\r\nhello\r\n0\r\n\r\n"),
        chunks("chunk minus", "RFC 9112 §7.1", "-5\r\nhello\r\n0\r\n\r\n"),
        chunks("chunk space", "RFC 9112 §7.1", "5 \r\nhello\r\n0\r\n\r\n"),
        chunks("chunk space before", "RFC 9112 §7.1", " 5\r\nhello\r\n0\r\n\r\n"),
        chunks("chunk underscore", "CVE-2023-47627", "0_5\r\nhello\r\n0\r\n\r\n"),
        chunks("chunk empty", "RFC 9112 §7.1", "\r\nhello\r\n0\r\n\r\n"),
        chunks("chunk overflow", "CVE-2013-2028", "10000000000000005\r\nhello\r\n0\r\n\r\n"),
        chunks("chunk negative as 64 bits", "CVE-2013-2028", "ffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
        chunks("chunk many zeros", "RFC 9112 §7.1", "00000000000000005\r\nhello\r\n0\r\n\r\n"),
        chunks("chunk no end", "RFC 9112 §7.1", "5\r\nhelloX\r\n0\r\n\r\n"),
        chunks("chunk end missing", "CVE-2025-66373", "5\r\nhello0\r\n\r\n"),
        chunks("chunk end LF", "CVE-2025-66373", "5\r\nhello\n0\r\n\r\n"),
        chunks("chunk extension LF", "CVE-2024-52304", "5;x\nhello\r\n0\r\n\r\n"),
        chunks("chunk extension CR", "CVE-2025-55315", "5;x\rhello\r\n0\r\n\r\n"),
        chunks("chunk extension quoted LF", "CVE-2025-55315", "5;x=\"\n\"\r\nhello\r\n0\r\n\r\n"),
        chunks("chunk extension open quote", "RFC 9112 §7.1.1", "5;x=\"\r\nhello\r\n0\r\n\r\n"),
        chunks("chunk extension empty", "RFC 9112 §7.1.1", "5;\r\nhello\r\n0\r\n\r\n"),
        chunks("chunk extension space", "Weikop, Funky Chunks (2025)", "5 ;x\r\nhello\r\n0\r\n\r\n"),
        chunks("last chunk LF", "Weikop, Funky Chunks (2025)", "0\n\r\n"),
        chunks("trailer folded", "RFC 9112 §7.1.2", "0\r\nX: y\r\n z\r\n\r\n"),
        chunks("trailer LF", "RFC 9112 §7.1.2", "0\r\nX: y\n\r\n"),
        chunks("trailer name", "RFC 9110 §5.1", "0\r\nX y: z\r\n\r\n"),
        chunks("trailer TE", "RFC 9110 §6.5.1", "0\r\nTransfer-Encoding: chunked\r\n\r\n"),
        chunks("trailer CL", "RFC 9110 §6.5.1", "0\r\nContent-Length: 40\r\n\r\n"),
        chunks("trailer Host", "RFC 9110 §6.5.1", "0\r\nHost: b.test\r\n\r\n"),
    ]
}

/// Odd requests that are fair: they pass whole, and nothing behind them does unseen.
fn fair() -> Vec<Row> {
    let close = "Host: a.test\r\nConnection: close\r\n";
    let whole =
        |name: &str, source, bytes: Vec<u8>| row(name, source, bytes, &[200]).reaching(Reaches::Whole);
    vec![
        whole(
            "GET with a body",
            "RFC 9110 §9.3.1",
            head(&format!("GET {PATH} HTTP/1.1"), &format!("{close}Content-Length: 5\r\n"))
                .into_iter()
                .chain(*b"hello")
                .collect(),
        ),
        whole(
            "body behind Connection: close",
            "RFC 9112 §9.6",
            post("Content-Length: 5\r\nConnection: close\r\n", &format!("hello{HIDDEN}")),
        ),
        whole(
            "chunk extension",
            "RFC 9112 §7.1.1",
            post("Transfer-Encoding: chunked\r\nConnection: close\r\n", "5;a=\"b\"\r\nhello\r\n0;c\r\n\r\n"),
        ),
        whole(
            "HTTP/1.0 with a body",
            "RFC 9112 §6.3",
            head(&format!("POST {PATH} HTTP/1.0"), "Host: a.test\r\nContent-Length: 5\r\n")
                .into_iter()
                .chain(*b"hello")
                .collect(),
        ),
        whole(
            "DELETE with chunks",
            "RFC 9110 §9.3.5",
            head(&format!("DELETE {PATH} HTTP/1.1"), &format!("{close}Transfer-Encoding: chunked\r\n"))
                .into_iter()
                .chain(*b"0\r\n\r\n")
                .collect(),
        ),
        // Without a length there is no body: what follows is another message, and no valid one.
        row("body without a length", "RFC 9112 §6.3", post("Content-Type: a/b\r\n", "hello"), &[200])
            .reaching(Reaches::Whole),
    ]
}

pub(super) fn rows() -> Vec<Row> {
    [lengths(), codings(), chunks(), fair()].concat()
}

#[test]
fn a_body_of_two_lengths_is_refused_and_hides_nothing() {
    play(rows(), status);
}
