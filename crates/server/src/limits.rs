//! What peers may take before they have said who they are.

use std::time::Duration;

/// Most sockets that wait in the lobby; it is half of the descriptors that the process may have where that is less.
pub const LOBBY: usize = 16_384;
/// How long a peer who has to log in may take until its first message is whole, agreeing on a key included; and later for a message
/// that it has begun, as long as nobody has logged in.
pub const FIRST: Duration = Duration::from_secs(10);
/// Threads whose connection has not had its first message, in all and for one address. Peers of this machine are as many as they like.
pub const STARTING: usize = 256;
pub const STARTING_FROM_ONE: usize = 32;
/// The longest message before a login, packed and unpacked.
pub const BEFORE_LOGIN: usize = 16 << 10;
/// How long a connection may be silent where nobody has logged in by it. Drivers ask every ten seconds.
pub const ANONYMOUS_SILENCE: Duration = Duration::from_secs(300);
/// How long somebody who has to log in, and has not, may leave a reply unread.
pub const UNREAD: Duration = Duration::from_secs(60);
/// How long a message that has begun may stand still.
pub const STANDSTILL: Duration = Duration::from_secs(30);
/// The first buffer of a connection by which nobody has logged in.
pub const ANONYMOUS_BUFFER: usize = 4 << 10;
