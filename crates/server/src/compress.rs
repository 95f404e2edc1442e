//! OP_COMPRESSED: a message of another kind, packed by snappy, zlib or zstd.

use std::io;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use crate::frame::{HEADER, Header, MAX_MESSAGE, OP_COMPRESSED, begin, finish, i32_at};

/// The compressors hello offers, in the order of preference.
pub const OFFERED: &[&str] = &["snappy", "zstd", "zlib"];

/// Original opcode, uncompressed size, compressor.
const PREFIX: usize = 9;

/// A compressor by its number on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Compressor {
    Noop = 0,
    Snappy = 1,
    Zlib = 2,
    Zstd = 3,
}

impl Compressor {
    fn from_id(id: u8) -> Option<Compressor> {
        Some(match id {
            0 => Compressor::Noop,
            1 => Compressor::Snappy,
            2 => Compressor::Zlib,
            3 => Compressor::Zstd,
            _ => return None,
        })
    }
}

fn bad(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// How long a compressed message says it is when it is unpacked.
pub fn claimed(frame: &[u8]) -> Option<usize> {
    usize::try_from(i32_at(frame, HEADER + 4)?).ok()
}

/// Unpacks an OP_COMPRESSED `frame` into `out` as the message it stands for, header included.
///
/// # Errors
/// `InvalidData`: the connection is to be closed. No more than the claimed size, itself limited, is ever written.
pub fn unpack(header: &Header, frame: &[u8], out: &mut Vec<u8>) -> io::Result<(Header, Compressor)> {
    let short = || bad("OP_COMPRESSED is too short");
    let opcode = i32_at(frame, HEADER).ok_or_else(short)?;
    let size = i32_at(frame, HEADER + 4).and_then(|n| usize::try_from(n).ok()).ok_or_else(short)?;
    let id = *frame.get(HEADER + 8).ok_or_else(short)?;
    let packed = frame.get(HEADER + PREFIX..).ok_or_else(short)?;
    let compressor = Compressor::from_id(id).ok_or_else(|| bad(format!("compressor id {id} is not known")))?;
    if opcode == OP_COMPRESSED {
        return Err(bad("OP_COMPRESSED within OP_COMPRESSED"));
    }
    if size > MAX_MESSAGE - HEADER {
        return Err(bad(format!("uncompressed size {size} is larger than a message may be")));
    }
    out.clear();
    begin(out, header.request_id, header.response_to, opcode);
    let written = match compressor {
        Compressor::Noop => {
            out.extend_from_slice(packed);
            packed.len()
        }
        Compressor::Snappy => unsnappy(packed, size, out)?,
        Compressor::Zlib => unzlib(packed, size, out)?,
        Compressor::Zstd => unzstd(packed, size, out)?,
    };
    if written != size {
        return Err(bad(format!("decompressed to {written} bytes instead of {size}")));
    }
    finish(out);
    Ok((Header { len: HEADER + size, opcode, ..*header }, compressor))
}

fn unsnappy(packed: &[u8], size: usize, out: &mut Vec<u8>) -> io::Result<usize> {
    let len = snap::raw::decompress_len(packed).map_err(bad)?;
    if len != size {
        return Ok(len);
    }
    out.resize(HEADER + size, 0);
    let into = out.get_mut(HEADER..).unwrap_or(&mut []);
    snap::raw::Decoder::new().decompress(packed, into).map_err(bad)
}

fn unzlib(packed: &[u8], size: usize, out: &mut Vec<u8>) -> io::Result<usize> {
    out.reserve_exact(size + 1);
    match Decompress::new(true).decompress_vec(packed, out, FlushDecompress::Finish).map_err(bad)? {
        Status::StreamEnd => Ok(out.len() - HEADER),
        _ => Err(bad("zlib stream does not end")),
    }
}

fn unzstd(packed: &[u8], size: usize, out: &mut Vec<u8>) -> io::Result<usize> {
    out.resize(HEADER + size, 0);
    let into = out.get_mut(HEADER..).unwrap_or(&mut []);
    zstd::bulk::decompress_to_buffer(packed, into)
}

/// Packs the message that is all of `plain` into `out` as an OP_COMPRESSED.
///
/// # Errors
/// The compressor failed; the message may be sent as it is.
pub fn pack(compressor: Compressor, plain: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let header = Header::parse(plain).ok_or_else(|| bad("not a message"))?;
    let body = plain.get(HEADER..).unwrap_or(&[]);
    out.clear();
    begin(out, header.request_id, header.response_to, OP_COMPRESSED);
    out.extend_from_slice(&header.opcode.to_le_bytes());
    out.extend_from_slice(&(body.len() as i32).to_le_bytes());
    out.push(compressor as u8);
    let start = out.len();
    match compressor {
        Compressor::Noop => out.extend_from_slice(body),
        Compressor::Snappy => {
            out.resize(start + snap::raw::max_compress_len(body.len()), 0);
            let n = snap::raw::Encoder::new().compress(body, out.get_mut(start..).unwrap_or(&mut [])).map_err(bad)?;
            out.truncate(start + n);
        }
        Compressor::Zlib => {
            // The bound of zlib: incompressible data grows by a little per block.
            out.reserve(body.len() + body.len() / 1000 + 64);
            let done = Compress::new(Compression::default(), true).compress_vec(body, out, FlushCompress::Finish)?;
            if done != Status::StreamEnd {
                return Err(bad("zlib needs more room"));
            }
        }
        Compressor::Zstd => {
            out.resize(start + zstd::zstd_safe::compress_bound(body.len()), 0);
            let n = zstd::bulk::compress_to_buffer(body, out.get_mut(start..).unwrap_or(&mut []), 0)?;
            out.truncate(start + n);
        }
    }
    finish(out);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::OP_MSG;

    fn message(body: &[u8]) -> Vec<u8> {
        let mut m = Vec::new();
        begin(&mut m, 7, 3, OP_MSG);
        m.extend_from_slice(body);
        finish(&mut m);
        m
    }

    const ALL: [Compressor; 4] = [Compressor::Noop, Compressor::Snappy, Compressor::Zlib, Compressor::Zstd];

    #[test]
    fn unpack_inverts_pack() {
        let noise: Vec<u8> = (0..100_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        for plain in [message(b""), message(b"abc"), message(&[7; 300_000]), message(&noise)] {
            for c in ALL {
                let (mut packed, mut back) = (Vec::new(), Vec::new());
                pack(c, &plain, &mut packed).unwrap();
                let header = Header::parse(&packed).unwrap();
                let (inner, with) = unpack(&header, &packed, &mut back).unwrap();
                assert_eq!((inner.opcode, with, &back), (OP_MSG, c, &plain));
            }
        }
    }

    #[test]
    fn a_wrong_size_is_refused_and_bounds_the_output() {
        for c in ALL {
            for claimed in [0i32, 10, 99_999, -1, i32::MAX] {
                let (mut packed, mut back) = (Vec::new(), Vec::new());
                pack(c, &message(&[7; 100_000]), &mut packed).unwrap();
                packed[20..24].copy_from_slice(&claimed.to_le_bytes());
                let header = Header::parse(&packed).unwrap();
                assert!(unpack(&header, &packed, &mut back).is_err(), "{c:?} {claimed}");
                assert!(back.capacity() < 400_000);
            }
        }
    }
}
