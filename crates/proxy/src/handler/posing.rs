//! A call that poses as another: while a handler asks somebody else in it, its head is that of the question; then it is
//! the client's again, which policies of the answer (`compress`, `headers`) look at.

use http::{HeaderMap, Method, Uri};

use crate::call::Call;

/// A call that looks to the tries like a request of the gateway's own; when this is dropped it is the client's again.
pub(super) struct Posing<'c> {
    pub(super) call: &'c mut Call,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    host_from_endpoint: bool,
    expects_continue: bool,
}

impl<'c> Posing<'c> {
    pub(super) fn new(call: &'c mut Call, method: Method, uri: Uri, headers: HeaderMap) -> Self {
        let method = std::mem::replace(&mut call.head.method, method);
        let uri = std::mem::replace(&mut call.head.uri, uri);
        let headers = std::mem::replace(&mut call.head.headers, headers);
        let host_from_endpoint = std::mem::replace(&mut call.host_from_endpoint, true);
        let expects_continue = std::mem::replace(&mut call.expects_continue, false);
        Self { call, method, uri, headers, host_from_endpoint, expects_continue }
    }
}

impl Drop for Posing<'_> {
    fn drop(&mut self) {
        self.call.head.method = std::mem::take(&mut self.method);
        self.call.head.uri = std::mem::take(&mut self.uri);
        self.call.head.headers = std::mem::take(&mut self.headers);
        self.call.host_from_endpoint = self.host_from_endpoint;
        self.call.expects_continue = self.expects_continue;
    }
}
