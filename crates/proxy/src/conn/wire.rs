//! A byte stream with its read buffer: what both sides of the HTTP/1 path read from and write to.
//!
//! Everything takes `&self` and borrows only within one poll, so that the reader of a request's body and the writer
//! of its answer can share the connection of one task.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// First read of a connection; grows to [`READ_BYTES_MAX`] while reads fill it.
const READ_BYTES_MIN: usize = 8 * 1024;
const READ_BYTES_MAX: usize = 64 * 1024;

thread_local! {
    /// What small reads go through.
    static SCRATCH: RefCell<Box<[u8; READ_BYTES_MIN]>> = RefCell::new(Box::new([0; READ_BYTES_MIN]));
}

/// A transport of any kind.
pub(crate) enum Io {
    Tcp(TcpStream),
    Unix(UnixStream),
    TlsServer(Box<tokio_rustls::server::TlsStream<Box<Io>>>),
    TlsClient(Box<tokio_rustls::client::TlsStream<Box<Io>>>),
    /// Bytes that were read ahead of the transport's own.
    Ahead(Bytes, Box<Io>),
}

macro_rules! each {
    ($io:expr, $stream:ident => $call:expr) => {
        match $io {
            Io::Tcp($stream) => $call,
            Io::Unix($stream) => $call,
            Io::TlsServer($stream) => $call,
            Io::TlsClient($stream) => $call,
            Io::Ahead(_, $stream) => $call,
        }
    };
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Io::Ahead(bytes, _) = &mut *self
            && !bytes.is_empty()
        {
            let count = bytes.len().min(buf.remaining());
            buf.put_slice(&bytes.split_to(count));
            return Poll::Ready(Ok(()));
        }
        each!(&mut *self, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        each!(&mut *self, stream => Pin::new(stream).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(&mut *self, stream => Pin::new(stream).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        each!(self, stream => stream.is_write_vectored())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(&mut *self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(&mut *self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}

impl Io {
    /// Where the other side has connected to, as far as the transport knows.
    pub(crate) fn local_addr(&self) -> Option<std::net::SocketAddr> {
        match self {
            Io::Tcp(stream) => stream.local_addr().ok(),
            Io::Unix(_) => None,
            Io::TlsServer(stream) => stream.get_ref().0.local_addr(),
            Io::TlsClient(stream) => stream.get_ref().0.local_addr(),
            Io::Ahead(_, io) => io.local_addr(),
        }
    }

    fn needs_flush(&self) -> bool {
        match self {
            Io::Tcp(_) | Io::Unix(_) => false,
            Io::TlsServer(_) | Io::TlsClient(_) => true,
            Io::Ahead(_, io) => io.needs_flush(),
        }
    }
}

/// A byte stream with its read buffer.
pub(crate) struct Wire {
    io: RefCell<Io>,
    /// What was read and not yet taken.
    pub(crate) input: RefCell<BytesMut>,
    eof: Cell<bool>,
    read_bytes: Cell<usize>,
}

impl Wire {
    pub(crate) fn new(io: Io) -> Self {
        Self {
            io: RefCell::new(io),
            input: RefCell::new(BytesMut::new()),
            eof: Cell::new(false),
            read_bytes: Cell::new(READ_BYTES_MIN),
        }
    }

    /// Whether the peer has ended its side.
    pub(crate) fn is_eof(&self) -> bool {
        self.eof.get()
    }

    /// Reads more into `input`; zero is the end of the stream. An idle connection holds no buffer.
    pub(crate) fn poll_fill(&self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.eof.get() {
            return Poll::Ready(Ok(0));
        }
        let want = self.read_bytes.get();
        let read = if want == READ_BYTES_MIN { self.read_small(cx) } else { self.read_large(cx, want) };
        match ready!(read) {
            Ok(0) => {
                self.eof.set(true);
                Poll::Ready(Ok(0))
            }
            Ok(count) => {
                if count >= want && want < READ_BYTES_MAX {
                    self.read_bytes.set(want * 2);
                }
                Poll::Ready(Ok(count))
            }
            Err(error) => {
                self.eof.set(true);
                Poll::Ready(Err(error))
            }
        }
    }

    /// Reads into the worker's scratch, and keeps no more than what came: a usual message is smaller than a buffer
    /// that is fit for all, and its slices would keep the whole of that alive.
    fn read_small(&self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buf = ReadBuf::new(&mut scratch[..]);
            ready!(Pin::new(&mut *self.io.borrow_mut()).poll_read(cx, &mut buf))?;
            self.input.borrow_mut().extend_from_slice(buf.filled());
            Poll::Ready(Ok(buf.filled().len()))
        })
    }

    /// Reads straight into `input`.
    fn read_large(&self, cx: &mut Context<'_>, want: usize) -> Poll<io::Result<usize>> {
        let mut input = self.input.borrow_mut();
        if input.capacity() - input.len() < want / 2 {
            input.reserve(want);
        }
        let read = tokio_util::io::poll_read_buf(Pin::new(&mut *self.io.borrow_mut()), cx, &mut *input);
        if read.is_pending() && input.is_empty() {
            *input = BytesMut::new();
        }
        read
    }

    /// Forgets that reads were large, so that an idle connection's next read is small again.
    pub(crate) fn settle(&self) {
        self.read_bytes.set(READ_BYTES_MIN);
    }

    /// Writes some of `out`.
    pub(crate) fn poll_write(&self, cx: &mut Context<'_>, out: &mut BytesMut) -> Poll<io::Result<()>> {
        let mut io = self.io.borrow_mut();
        while !out.is_empty() {
            let count = ready!(Pin::new(&mut *io).poll_write(cx, out))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            out.advance(count);
        }
        if io.needs_flush() { Pin::new(&mut *io).poll_flush(cx) } else { Poll::Ready(Ok(())) }
    }

    /// Writes `head` and then `data`, in one system call where the transport can.
    pub(crate) fn poll_write_pair(
        &self,
        cx: &mut Context<'_>,
        head: &mut BytesMut,
        data: &mut Bytes,
    ) -> Poll<io::Result<()>> {
        let mut io = self.io.borrow_mut();
        while !head.is_empty() || !data.is_empty() {
            let slices = [IoSlice::new(head), IoSlice::new(data)];
            let slices = if head.is_empty() { &slices[1..] } else { &slices[..] };
            let count = ready!(Pin::new(&mut *io).poll_write_vectored(cx, slices))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let of_head = count.min(head.len());
            head.advance(of_head);
            data.advance(count - of_head);
        }
        if io.needs_flush() { Pin::new(&mut *io).poll_flush(cx) } else { Poll::Ready(Ok(())) }
    }

    /// Ends our side of the stream.
    pub(crate) async fn shutdown(&self) -> io::Result<()> {
        poll_fn(|cx| self.poll_shutdown(cx)).await
    }

    pub(crate) fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.io.borrow_mut()).poll_shutdown(cx)
    }

    /// Whether an idle connection is still as it should be: open, and silent. Costs no system call on TCP, for the
    /// runtime keeps the readiness; TLS may have session tickets waiting, which are read here.
    pub(crate) fn is_quiet(&self) -> bool {
        if self.eof.get() || !self.input.borrow().is_empty() {
            return false;
        }
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let io = self.io.borrow();
        match &*io {
            Io::Tcp(tcp) => tcp.poll_read_ready(&mut cx).is_pending(),
            _ => {
                drop(io);
                self.poll_fill(&mut cx).is_pending()
            }
        }
    }
}
