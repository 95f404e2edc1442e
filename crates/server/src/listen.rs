//! Where to listen, who may come, and binding the sockets.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::net::{AddressFamily, SocketType, sockopt};
use smongo_engine::Trust;

use crate::tls::Tls;

/// Connections that wait to be accepted; the kernel takes its own limit where that is less.
const BACKLOG: i32 = 4096;

/// Where to listen and how.
#[derive(Clone, Debug)]
pub struct Listen {
    /// `(host or address, port)`; port 0 takes any free one. `*` is every IPv4 address, and with `ipv6` every IPv6 address, too.
    pub tcp: Vec<(String, u16)>,
    /// Whether `*` is every IPv6 address, too. Names and addresses are listened on whatever they stand for.
    pub ipv6: bool,
    /// Path of a unix socket.
    pub unix: Option<PathBuf>,
    /// The mode of the unix socket's file, with which it is made: at no moment may more people connect than in the end.
    pub unix_mode: u32,
    /// Whether the unix socket is this process' own: processes of other users are turned away, ours own the data.
    pub private: bool,
    pub exposure: Exposure,
    pub tls: Tls,
    /// The `host:port` that hello tells clients; by default the address under which each reached the server.
    pub advertise: Option<String>,
    /// Connections beyond this are closed at once.
    pub max_connections: usize,
}

/// Who may come to the sockets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Exposure {
    /// Whoever is on this machine, without a login: addresses that other machines reach are refused.
    #[default]
    Loopback,
    /// Whoever reaches a socket may do what the user may who logs in there.
    Authenticated,
    /// Whoever reaches a socket, from anywhere, without a login: somebody said that this is meant.
    AcceptedOpen,
}

impl Exposure {
    pub fn trust(self) -> Trust {
        match self {
            Exposure::Authenticated => Trust::Enforced,
            Exposure::Loopback | Exposure::AcceptedOpen => Trust::Open,
        }
    }
}

impl Default for Listen {
    fn default() -> Listen {
        Listen {
            tcp: Vec::new(),
            ipv6: false,
            unix: None,
            unix_mode: 0o700,
            private: false,
            exposure: Exposure::default(),
            tls: Tls::default(),
            advertise: None,
            max_connections: 65_536,
        }
    }
}

impl Listen {
    /// The addresses of one host, each with the port.
    fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        if host == "*" {
            let both = [SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)), SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))];
            return Ok(both.into_iter().take(1 + usize::from(self.ipv6)).collect());
        }
        Ok((host, port).to_socket_addrs().map_err(|e| named(host, e))?.collect())
    }

    /// Whether other machines reach one of the addresses.
    ///
    /// # Errors
    /// A name stands for no address.
    pub fn beyond_loopback(&self) -> io::Result<Option<&str>> {
        for (host, port) in &self.tcp {
            if self.resolve(host, *port)?.iter().any(|address| is_beyond(*address)) {
                return Ok(Some(host));
            }
        }
        Ok(None)
    }

    /// Refuses what would give the data to anybody who can reach the port, unless somebody said that it is meant.
    ///
    /// # Errors
    /// `PermissionDenied` with what to do instead; a name stands for no address.
    pub fn check(&self) -> io::Result<()> {
        match self.beyond_loopback()? {
            Some(host) if self.exposure == Exposure::Loopback => Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                format!(
                    "refused to listen on {host}: other machines can reach it and nobody has to log in, so anyone there could read and change the \
                     data. Let clients log in (--auth; auth=True in Python), or, if anyone may, say so (--allow-unauthenticated-network; \
                     allow_unauthenticated_network=True in Python)."
                ),
            )),
            _ => Ok(()),
        }
    }

    /// Binds all TCP addresses, or none.
    pub(crate) fn bind_tcp(&self) -> io::Result<Vec<TcpListener>> {
        self.check()?;
        let mut bound = Vec::new();
        for (host, port) in &self.tcp {
            // Port 0 is chosen once: every address gets the same.
            let port = if *port == 0 { bound_port(&bound) } else { *port };
            let addresses = self.resolve(host, port)?;
            // A name may stand for something else than when it was looked at.
            if self.exposure == Exposure::Loopback && addresses.iter().any(|address| is_beyond(*address)) {
                self.check()?;
                return Err(named(host, io::ErrorKind::PermissionDenied.into()));
            }
            bind_all(addresses, port, &mut bound).map_err(|e| named(&format!("{host}:{port}"), e))?;
        }
        Ok(bound)
    }
}

/// Whether other machines reach an address.
fn is_beyond(address: SocketAddr) -> bool {
    !address.ip().to_canonical().is_loopback()
}

pub(crate) fn named(address: &str, e: io::Error) -> io::Error {
    io::Error::new(e.kind(), format!("cannot listen on {address}: {e}"))
}

fn bound_port(bound: &[TcpListener]) -> u16 {
    bound.first().and_then(|l| l.local_addr().ok()).map_or(0, |a| a.port())
}

/// Binds every address a name stands for; `localhost` is often two.
fn bind_all(addresses: Vec<SocketAddr>, mut port: u16, bound: &mut Vec<TcpListener>) -> io::Result<()> {
    let mut any = Err(io::Error::new(io::ErrorKind::NotFound, "the name stands for no address"));
    for mut address in addresses {
        address.set_port(port);
        match listener(address) {
            Ok(listener) => {
                listener.set_nonblocking(true)?;
                port = listener.local_addr()?.port();
                bound.push(listener);
                any = Ok(());
            }
            // A machine without IPv6 still has `localhost`.
            Err(e) if unknown_address(&e) && any.is_ok() => {}
            Err(e) if any.is_ok() => return Err(e),
            Err(e) => any = Err(e),
        }
    }
    any
}

fn unknown_address(e: &io::Error) -> bool {
    e.kind() == io::ErrorKind::AddrNotAvailable || e.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error())
}

/// An IPv6 address is that alone: every IPv6 address is not every IPv4 address, which can be listened on beside it. More may wait than
/// the standard library lets, so that a crowd leaves room for who comes with it.
fn listener(address: SocketAddr) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket(family, SocketType::STREAM, None)?;
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(TcpListener::from(socket))
}

/// Binds a unix socket in place of one that a dead server left behind.
pub(crate) fn bind_unix(path: &Path, mode: u32) -> io::Result<UnixListener> {
    let dead = |path: &Path| UnixStream::connect(path).is_err_and(|e| e.kind() == io::ErrorKind::ConnectionRefused);
    if std::fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_socket()) && dead(path) {
        std::fs::remove_file(path)?;
    }
    let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    // The file gets the socket's mode, less what the umask takes. Other systems refuse to set it.
    #[cfg(target_os = "linux")]
    rustix::fs::fchmod(&socket, rustix::fs::Mode::from_raw_mode(mode))?;
    rustix::net::bind(&socket, &rustix::net::SocketAddrUnix::new(path)?)?;
    // Only ever more than the file has, and before anybody is listened to.
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode))?;
    rustix::net::listen(&socket, BACKLOG)?;
    let listener = UnixListener::from(socket);
    listener.set_nonblocking(true)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listen(host: &str, exposure: Exposure) -> Listen {
        Listen { tcp: vec![(host.into(), 0)], exposure, ..Listen::default() }
    }

    #[test]
    fn addresses_that_others_reach_need_a_login_or_a_word() {
        for host in ["0.0.0.0", "::", "*", "192.0.2.1", "::ffff:192.0.2.1", "2001:db8::1"] {
            let refused = listen(host, Exposure::Loopback).check().map_err(|e| (e.kind(), e.to_string()));
            assert!(matches!(&refused, Err((io::ErrorKind::PermissionDenied, text)) if text.contains("--auth") && text.contains(host)), "{host}: {refused:?}");
            for exposure in [Exposure::Authenticated, Exposure::AcceptedOpen] {
                assert!(listen(host, exposure).check().is_ok(), "{host}");
            }
        }
        for host in ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1", "localhost"] {
            assert!(listen(host, Exposure::Loopback).check().is_ok(), "{host}");
        }
    }

    #[test]
    fn every_address_is_two_sockets_on_one_port() -> io::Result<()> {
        let bound = Listen { ipv6: true, ..listen("*", Exposure::AcceptedOpen) }.bind_tcp()?;
        let ports: Vec<u16> = bound.iter().filter_map(|l| l.local_addr().ok()).map(|a| a.port()).collect();
        // Where there is no IPv6 there is one.
        assert!(ports.iter().all(|port| *port == ports[0]) && (1..=2).contains(&ports.len()), "{ports:?}");
        assert_eq!(listen("*", Exposure::AcceptedOpen).bind_tcp()?.len(), 1);
        Ok(())
    }
}
