//! The agent's side of the ssh agent protocol, as far as logging in needs it: listing keys and signing.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::keys::{Hash, Keys};

const FAILURE: u8 = 5;
const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;
const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;

const RSA_SHA2_256: u32 = 2;
const RSA_SHA2_512: u32 = 4;

/// As OpenSSH has it.
const MAX_MESSAGE: u32 = 256 << 10;

/// Answers until the client leaves.
pub(super) async fn serve(keys: &Keys, mut client: UnixStream) -> io::Result<()> {
    loop {
        let length = match client.read_u32().await {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
        };
        if length > MAX_MESSAGE {
            return Err(io::Error::other("a request is too long"));
        }
        let mut request = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        client.read_exact(&mut request).await?;
        let mut reply = Vec::new();
        put(&mut reply, &answer(keys, &request));
        client.write_all(&reply).await?;
    }
}

fn answer(keys: &Keys, request: &[u8]) -> Vec<u8> {
    match request.split_first() {
        Some((&REQUEST_IDENTITIES, _)) => identities(keys),
        Some((&SIGN_REQUEST, rest)) => sign(keys, rest).unwrap_or_else(|| vec![FAILURE]),
        _ => vec![FAILURE],
    }
}

fn identities(keys: &Keys) -> Vec<u8> {
    let mut reply = vec![IDENTITIES_ANSWER];
    let all = keys.all();
    reply.extend(u32::try_from(all.len()).unwrap_or(u32::MAX).to_be_bytes());
    for key in all {
        put(&mut reply, key.public());
        put(&mut reply, key.comment().as_bytes());
    }
    reply
}

fn sign(keys: &Keys, mut request: &[u8]) -> Option<Vec<u8>> {
    let public = take(&mut request)?;
    let data = take(&mut request)?;
    let flags = u32::from_be_bytes(request.get(..4)?.try_into().ok()?);
    let hash = match (flags & RSA_SHA2_512 != 0, flags & RSA_SHA2_256 != 0) {
        (true, _) => Some(Hash::Sha512),
        (false, true) => Some(Hash::Sha256),
        (false, false) => None,
    };
    let (algorithm, bytes) = keys
        .all()
        .iter()
        .find(|key| key.public() == public)?
        .sign(data, hash)?;
    let mut signature = Vec::new();
    put(&mut signature, algorithm.as_bytes());
    put(&mut signature, &bytes);
    let mut reply = vec![SIGN_RESPONSE];
    put(&mut reply, &signature);
    Some(reply)
}

/// A string of the protocol: its length, its bytes.
pub(super) fn put(message: &mut Vec<u8>, bytes: &[u8]) {
    message.extend(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    message.extend(bytes);
}

fn take<'a>(message: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = message.split_first_chunk::<4>()?;
    let (bytes, rest) =
        rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    *message = rest;
    Some(bytes)
}
