//! Tunnels that policies read: the agreement to switch protocols carries who is to read what flows after it.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Instant,
};

use bytes::{Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::{
    tunnel::Tunnel,
    watched::{Onward, Side, Watch},
};
use crate::{
    body::{Body, Wrapper},
    failure::Failure,
};

/// The agreement to switch protocols, and who reads the tunnel that it opens.
pub(crate) struct Overseen {
    inner: Body,
    watch: Box<dyn Watch>,
}

impl Overseen {
    /// Has somebody read the tunnel of an agreement.
    pub(crate) fn by(inner: Body, watch: impl Watch + 'static) -> Body {
        Body::boxed(Self { inner, watch: Box::new(watch) })
    }
}

impl Wrapper for Overseen {
    fn inner(&mut self) -> Option<&mut Body> {
        Some(&mut self.inner)
    }

    fn into_tunnel(self: Box<Self>) -> Option<Tunnel> {
        let Self { inner, watch } = *self;
        let mut tunnel = inner.into_tunnel()?;
        // Whoever was there before stands nearer to the upstream.
        tunnel.watch = Some(match tunnel.watch.take() {
            Some(far) => Box::new(Both { near: watch, far }),
            None => watch,
        });
        Some(tunnel)
    }
}

impl HttpBody for Overseen {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Two who read the same tunnel, one after the other.
struct Both {
    /// Nearer to the client.
    near: Box<dyn Watch>,
    /// Nearer to the upstream.
    far: Box<dyn Watch>,
}

impl Both {
    /// What one of them says, the other reads: `forth` is on its way to the upstream, `back` to the client.
    fn pass(&mut self, mut forth: BytesMut, mut back: BytesMut, on: &mut Onward) {
        while !forth.is_empty() || !back.is_empty() {
            let mut said = Onward::default();
            match forth.is_empty() {
                false => {
                    self.far.by_client(&forth.split(), &mut said);
                    on.to_upstream.unsplit(said.to_upstream);
                    back.unsplit(said.to_client);
                }
                true => {
                    self.near.by_upstream(&back.split(), &mut said);
                    on.to_client.unsplit(said.to_client);
                    forth.unsplit(said.to_upstream);
                }
            }
            on.is_over |= said.is_over;
        }
    }

    /// The same of all that the one near the client has said.
    fn near_said(&mut self, said: Onward, on: &mut Onward) {
        on.to_client.unsplit(said.to_client);
        on.is_over |= said.is_over;
        self.pass(said.to_upstream, BytesMut::new(), on);
    }

    fn far_said(&mut self, said: Onward, on: &mut Onward) {
        on.to_upstream.unsplit(said.to_upstream);
        on.is_over |= said.is_over;
        self.pass(BytesMut::new(), said.to_client, on);
    }
}

impl Watch for Both {
    fn by_client(&mut self, data: &[u8], on: &mut Onward) {
        let mut said = Onward::default();
        self.near.by_client(data, &mut said);
        self.near_said(said, on);
    }

    fn by_upstream(&mut self, data: &[u8], on: &mut Onward) {
        let mut said = Onward::default();
        self.far.by_upstream(data, &mut said);
        self.far_said(said, on);
    }

    fn reads(&self, side: Side) -> bool {
        self.near.reads(side) && self.far.reads(side)
    }

    fn poll(&mut self, cx: &mut Context<'_>, on: &mut Onward) -> Poll<()> {
        let mut said = Onward::default();
        let near = self.near.poll(cx, &mut said).is_ready();
        self.near_said(said, on);
        let mut said = Onward::default();
        let far = self.far.poll(cx, &mut said).is_ready();
        self.far_said(said, on);
        if near || far { Poll::Ready(()) } else { Poll::Pending }
    }

    fn deadline(&self) -> Instant {
        self.near.deadline().min(self.far.deadline())
    }

    fn time_out(&mut self, on: &mut Onward) {
        let now = Instant::now();
        if self.near.deadline() <= now {
            let mut said = Onward::default();
            self.near.time_out(&mut said);
            self.near_said(said, on);
        }
        if self.far.deadline() <= now {
            let mut said = Onward::default();
            self.far.time_out(&mut said);
            self.far_said(said, on);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Marks what it reads, and says a word of its own when its time has come.
    struct Marks(u8, Instant);

    impl Watch for Marks {
        fn by_client(&mut self, data: &[u8], on: &mut Onward) {
            on.to_upstream.extend_from_slice(&[self.0]);
            on.to_upstream.extend_from_slice(data);
        }
        fn by_upstream(&mut self, data: &[u8], on: &mut Onward) {
            on.to_client.extend_from_slice(&[self.0]);
            on.to_client.extend_from_slice(data);
        }
        fn reads(&self, side: Side) -> bool {
            self.0 == b'n' || side == Side::Client
        }
        fn poll(&mut self, _: &mut Context<'_>, _: &mut Onward) -> Poll<()> {
            Poll::Pending
        }
        fn deadline(&self) -> Instant {
            self.1
        }
        fn time_out(&mut self, on: &mut Onward) {
            on.to_client.extend_from_slice(b"<");
            on.to_upstream.extend_from_slice(b">");
            on.is_over = true;
        }
    }

    fn texts(on: &Onward) -> (&str, &str) {
        let text = |bytes| std::str::from_utf8(bytes).expect("text");
        (text(&on.to_client), text(&on.to_upstream))
    }

    #[test]
    fn both_read_in_their_order_and_each_hears_the_other() {
        let now = Instant::now();
        let later = now + Duration::from_secs(60);
        let both = |near, far| Both { near: Box::new(Marks(b'n', near)), far: Box::new(Marks(b'f', far)) };
        let (mut on, mut one) = (Onward::default(), both(later, now));
        one.by_client(b"1", &mut on);
        one.by_upstream(b"2", &mut on);
        assert_eq!(texts(&on), ("nf2", "fn1"));
        assert!(one.reads(Side::Client) && !one.reads(Side::Upstream), "both have to");
        assert_eq!(one.deadline(), now);
        let mut on = Onward::default();
        one.time_out(&mut on);
        assert_eq!((texts(&on), on.is_over), (("n<", ">"), true), "only the one whose time has come");
        let mut on = Onward::default();
        both(now, later).time_out(&mut on);
        assert_eq!((texts(&on), on.is_over), (("<", "f>"), true));
    }
}
