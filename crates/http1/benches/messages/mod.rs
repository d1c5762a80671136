//! The messages that the bench and the instruction count measure: what a browser asks, and what a service answers.

/// A browser's request: 10 fields, about 500 bytes.
pub(crate) const REQUEST: &[u8] = b"GET /api/v2/tides?station=8443970&units=metric HTTP/1.1\r\n\
Host: api.example.org\r\n\
User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
Accept-Language: en-GB,en;q=0.7,de;q=0.3\r\n\
Accept-Encoding: gzip, deflate, br, zstd\r\n\
Referer: https://www.example.org/stations/boston\r\n\
Connection: keep-alive\r\n\
Cookie: session=4f7c1b2ad0e94b6f; theme=dark\r\n\
Sec-Fetch-Mode: navigate\r\n\
X-Request-Id: 0198c0de-6a52-7cc1-9f7e-3d1a2b4c5d6e\r\n\
\r\n";

/// The head of a service's answer to it.
pub(crate) const RESPONSE_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\n\
Server: tides/2.4\r\n\
Date: Mon, 24 Nov 2025 12:00:00 GMT\r\n\
Content-Type: application/json\r\n\
Content-Length: 1024\r\n\
Cache-Control: max-age=60\r\n\
Vary: Accept-Encoding\r\n\
ETag: \"5f3c-1a2b3c\"\r\n\
\r\n";

/// The answer's body: 1 KiB.
pub(crate) const BODY: [u8; 1024] = [b'x'; 1024];
