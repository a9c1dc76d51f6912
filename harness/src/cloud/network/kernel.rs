//! What the kernel still holds of the bytes that a stopped process has written.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::BorrowedFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::set_tcp_quickack;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with};
use tokio::net::TcpStream;

/// Whether there is something to be read or accepted, without reading it.
pub(super) fn any_is_readable<'a>(sockets: impl Iterator<Item = BorrowedFd<'a>>) -> bool {
    let mut polled: Vec<_> = sockets.map(|socket| PollFd::from_borrowed_fd(socket, PollFlags::IN)).collect();
    // It can only fail for want of memory: there is nothing more to be known then.
    poll(&mut polled, Some(&Timespec::default())).is_ok_and(|readable| readable > 0)
}

/// How many bytes the process at the other end of a connection has written that have not arrived at
/// this end: held back by a full window, by Nagle's algorithm, or on their way through the kernel.
/// Nothing, if the kernel does not tell.
///
/// Makes the kernel acknowledge what it has received, because it may put that off (by 40 ms and more),
/// and what is not acknowledged counts as not arrived.
pub(super) fn bytes_not_arrived(socket: &TcpStream) -> u32 {
    let (Ok(SocketAddr::V4(here)), Ok(SocketAddr::V4(there))) = (socket.local_addr(), socket.peer_addr()) else {
        return 0;
    };
    match send_queue(there, here).unwrap_or_default() {
        0 => 0,
        _ => {
            // Where it is refused, the acknowledgement only comes later.
            let _ = set_tcp_quickack(socket, true);
            send_queue(there, here).unwrap_or_default()
        }
    }
}

/// `NLMSG_HDRLEN`.
const HEADER: usize = 16;
/// The size of a request: header and `struct inet_diag_req_v2`.
const REQUEST: usize = HEADER + 56;
/// `SOCK_DIAG_BY_FAMILY`: the type of the request, and of the answer to it.
const BY_FAMILY: u16 = 20;
/// `NLM_F_REQUEST`.
const IS_REQUEST: u16 = 1;
/// Where `idiag_wqueue` is in an answer (`struct inet_diag_msg`).
const SEND_QUEUE: usize = HEADER + 60;

/// How many bytes of a local socket are not acknowledged, by its two addresses (sock_diag(7)).
fn send_queue(socket: SocketAddrV4, peer: SocketAddrV4) -> io::Result<u32> {
    let protocol = Some(netlink::SOCK_DIAG);
    let diagnostics = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, SocketFlags::CLOEXEC, protocol)?;
    send(&diagnostics, &request(socket, peer), SendFlags::empty())?;
    let mut answer = [0; 512];
    // The kernel answers while it is asked, so there is nothing to wait for.
    let (_, length) = recv(&diagnostics, &mut answer, RecvFlags::DONTWAIT)?;
    parse(answer.get(..length).unwrap_or_default()).ok_or_else(|| io::ErrorKind::NotFound.into())
}

fn request(socket: SocketAddrV4, peer: SocketAddrV4) -> [u8; REQUEST] {
    let address = |ip: &Ipv4Addr| [ip.octets(), [0; 4], [0; 4], [0; 4]].concat();
    let parts: [&[u8]; 13] = [
        // struct nlmsghdr
        &(REQUEST as u32).to_ne_bytes(),
        &BY_FAMILY.to_ne_bytes(),
        &IS_REQUEST.to_ne_bytes(),
        &[0; 8],
        // struct inet_diag_req_v2: AF_INET, IPPROTO_TCP, no extensions, any state
        &[AddressFamily::INET.as_raw() as u8, 6, 0, 0],
        &u32::MAX.to_ne_bytes(),
        // struct inet_diag_sockid: the socket, on any interface, with any cookie
        &socket.port().to_be_bytes(),
        &peer.port().to_be_bytes(),
        &address(socket.ip()),
        &address(peer.ip()),
        &[0; 4],
        &u32::MAX.to_ne_bytes(),
        &u32::MAX.to_ne_bytes(),
    ];
    let mut request = [0; REQUEST];
    request.copy_from_slice(&parts.concat());
    request
}

fn parse(answer: &[u8]) -> Option<u32> {
    let kind = u16::from_ne_bytes(answer.get(4..6)?.try_into().ok()?);
    let queue = answer.get(SEND_QUEUE..SEND_QUEUE + 4)?;
    (kind == BY_FAMILY).then_some(u32::from_ne_bytes(queue.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener as StdListener, TcpStream as StdStream};
    use std::os::fd::AsFd;

    use super::*;

    /// A connection whose one end is nobody's business, and its other end.
    fn connected() -> (StdStream, TcpStream) {
        let listener = StdListener::bind("127.0.0.1:0").unwrap();
        let there = StdStream::connect(listener.local_addr().unwrap()).unwrap();
        let here = listener.accept().unwrap().0;
        here.set_nonblocking(true).unwrap();
        (there, TcpStream::from_std(here).unwrap())
    }

    #[tokio::test]
    async fn bytes_behind_a_full_window_have_not_arrived() {
        let (mut there, here) = connected();
        there.write_all(b"some").unwrap();
        assert_eq!(bytes_not_arrived(&here), 0);
        assert!(any_is_readable([here.as_fd()].into_iter()));

        there.set_nonblocking(true).unwrap();
        while there.write(&[0; 65_536]).is_ok() {}
        assert!(bytes_not_arrived(&here) > 0);
    }

    #[tokio::test]
    async fn bytes_that_were_read_are_not_in_the_kernel() {
        let (mut there, here) = connected();
        there.write_all(b"some").unwrap();
        let mut here = here.into_std().unwrap();
        here.read_exact(&mut [0; 4]).unwrap();
        assert!(!any_is_readable([here.as_fd()].into_iter()));
    }
}
