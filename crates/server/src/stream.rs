//! A client's socket of either kind.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::RecvFlags;
use smongo_engine::Way;

pub enum Stream {
    Tcp(TcpStream),
    Unix { stream: UnixStream, path: PathBuf },
}

impl Stream {
    /// Settles the socket's options; a failure is not worth refusing a client for.
    pub fn tune(&self) {
        if let Stream::Tcp(s) = self {
            let _ = s.set_nodelay(true);
            let _ = rustix::net::sockopt::set_socket_keepalive(s, true);
            let _ = rustix::net::sockopt::set_tcp_keepidle(s, Duration::from_secs(120));
        }
    }

    /// The address under which the client reached us: `host:port` or the socket's path.
    pub fn local(&self) -> String {
        match self {
            Stream::Tcp(s) => s.local_addr().map(|a| a.to_string()).unwrap_or_default(),
            Stream::Unix { path, .. } => path.display().to_string(),
        }
    }

    pub fn remote(&self) -> String {
        match self {
            Stream::Tcp(s) => s.peer_addr().map(|a| a.to_string()).unwrap_or_default(),
            Stream::Unix { .. } => "anonymous unix socket".to_string(),
        }
    }

    /// The addresses of both ends, as far as there are any.
    pub fn way(&self) -> Way {
        match self {
            Stream::Tcp(s) => match (s.peer_addr(), s.local_addr()) {
                (Ok(from), Ok(to)) => Way::Ip { from: from.ip().to_canonical(), to: to.ip().to_canonical() },
                // It has gone already.
                _ => Way::Socket,
            },
            Stream::Unix { .. } => Way::Socket,
        }
    }

    /// Whether the peer is on this machine: by loopback, or as a process of our own user. Another user of the machine is a stranger.
    pub fn is_local(&self) -> bool {
        match self {
            Stream::Tcp(s) => s.peer_addr().is_ok_and(|a| a.ip().to_canonical().is_loopback()),
            Stream::Unix { .. } => self.is_ours() == Some(true),
        }
    }

    /// Whether the peer is a process of our own user; `None` where that cannot be known.
    pub fn is_ours(&self) -> Option<bool> {
        match self {
            Stream::Tcp(_) => Some(false),
            #[cfg(target_os = "linux")]
            Stream::Unix { stream, .. } => Some(rustix::net::sockopt::socket_peercred(stream).ok()?.uid == rustix::process::geteuid()),
            #[cfg(not(target_os = "linux"))]
            Stream::Unix { .. } => None,
        }
    }

    /// The first bytes, which stay to be read; less than there is room for only where the client sends no more, or takes too long for it.
    pub fn peek<'b>(&self, into: &'b mut [u8]) -> io::Result<&'b [u8]> {
        let (n, _) = rustix::io::retry_on_intr(|| rustix::net::recv(self, &mut *into, RecvFlags::PEEK | RecvFlags::WAITALL))?;
        Ok(into.get(..n).unwrap_or(&[]))
    }

    /// The first bytes that are there now; `None` where there are none yet, an error at the end.
    pub fn peek_now<'b>(&self, into: &'b mut [u8]) -> io::Result<Option<&'b [u8]>> {
        match rustix::io::retry_on_intr(|| rustix::net::recv(self, &mut *into, RecvFlags::PEEK | RecvFlags::DONTWAIT)) {
            Ok((0, _)) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok((n, _)) => Ok(Some(into.get(..n).unwrap_or(&[]))),
            Err(rustix::io::Errno::AGAIN) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// Whether the other end says no more.
    pub fn has_ended(&self) -> bool {
        #[cfg(target_os = "linux")]
        const ENDED: PollFlags = PollFlags::RDHUP.union(PollFlags::HUP).union(PollFlags::ERR);
        #[cfg(not(target_os = "linux"))]
        const ENDED: PollFlags = PollFlags::HUP.union(PollFlags::ERR);
        let mut polled = [PollFd::new(self, ENDED)];
        poll(&mut polled, Some(&Timespec::default())).is_ok_and(|n| n > 0)
    }

    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        match self {
            Stream::Tcp(s) => s.set_nonblocking(nonblocking),
            Stream::Unix { stream, .. } => stream.set_nonblocking(nonblocking),
        }
    }

    /// How long a write may wait; `None` for ever.
    pub fn set_write_patience(&self, patience: Option<Duration>) -> io::Result<()> {
        match self {
            Stream::Tcp(s) => s.set_write_timeout(patience),
            Stream::Unix { stream, .. } => stream.set_write_timeout(patience),
        }
    }

    /// How long a read may wait; `None` for ever.
    pub fn set_patience(&self, patience: Option<Duration>) -> io::Result<()> {
        match self {
            Stream::Tcp(s) => s.set_read_timeout(patience),
            Stream::Unix { stream, .. } => stream.set_read_timeout(patience),
        }
    }

    /// The address without the port.
    pub fn remote_ip(&self) -> Option<IpAddr> {
        match self {
            Stream::Tcp(s) => s.peer_addr().ok().map(|a| a.ip().to_canonical()),
            Stream::Unix { .. } => None,
        }
    }

    /// Ends reading, writing or both; a thread blocked in one of them returns.
    pub fn shutdown(&self, how: Shutdown) {
        let _ = match self {
            Stream::Tcp(s) => s.shutdown(how),
            Stream::Unix { stream, .. } => stream.shutdown(how),
        };
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Stream::Tcp(s) => s.as_fd(),
            Stream::Unix { stream, .. } => stream.as_fd(),
        }
    }
}

impl Read for &Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(s) => (&mut &*s).read(buf),
            Stream::Unix { stream, .. } => (&mut &*stream).read(buf),
        }
    }
}

impl Write for &Stream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(s) => (&mut &*s).write(buf),
            Stream::Unix { stream, .. } => (&mut &*stream).write(buf),
        }
    }

    fn write_vectored(&mut self, bufs: &[io::IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Stream::Tcp(s) => (&mut &*s).write_vectored(bufs),
            Stream::Unix { stream, .. } => (&mut &*stream).write_vectored(bufs),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
