//! Lines of JSON: one object each, bounded, with a version.

use std::io;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufRead, AsyncBufReadExt};

use super::protocol::{EventRecord, Hello, ReceiptRecord, Refused, Reply, Request, Response, VERSION};
use super::record::MessageRecord;
use crate::status::Status;

/// The longest line a node reads: a body of the largest size, every byte of it escaped.
pub(super) const REQUEST_MAX: usize = 512 * 1024;
/// The longest line a client reads: the status of a node that knows thousands of peers.
pub(super) const RESPONSE_MAX: usize = 16 * 1024 * 1024;

#[derive(Serialize, Deserialize)]
struct RequestLine {
    v: u32,
    #[serde(flatten)]
    request: Request,
}

/// Read first, so that a command of a newer version is refused for its version.
#[derive(Deserialize)]
struct Envelope {
    v: Option<u32>,
    #[serde(default)]
    id: u64,
}

pub(super) fn write_request(request: Request, out: &mut Vec<u8>) {
    write(&RequestLine { v: VERSION, request }, out);
}

/// A request, or the number and the reason of a refusal.
pub(super) fn read_request(line: &[u8]) -> Result<Request, (u64, Refused)> {
    let envelope: Envelope = serde_json::from_slice(line)
        .map_err(|error| (0, Refused::new("request", format!("not a JSON object: {error}"))))?;
    if envelope.v != Some(VERSION) {
        let message = format!("this node speaks version {VERSION}: begin with {{\"v\":{VERSION},...");
        return Err((envelope.id, Refused::new("version", message)));
    }
    serde_json::from_slice::<RequestLine>(line)
        .map(|line| line.request)
        .map_err(|error| (envelope.id, Refused::new("request", error.to_string())))
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct ResponseLine {
    v: u32,
    re: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    hello: Option<Hello>,
    #[serde(skip_serializing_if = "Option::is_none")]
    receipt: Option<ReceiptRecord>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<MessageRecord>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<EventRecord>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Box<Status>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Refused>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    done: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    end: bool,
}

pub(super) fn write_response(response: Response, out: &mut Vec<u8>) {
    let mut line = ResponseLine { v: VERSION, re: response.re, ..ResponseLine::default() };
    match response.reply {
        Reply::Hello(hello) => line.hello = Some(hello),
        Reply::Done => line.done = true,
        Reply::Receipt(receipt) => line.receipt = Some(receipt),
        Reply::Message(message) => line.message = Some(message),
        Reply::Event(event) => line.event = Some(event),
        Reply::Status(status) => line.status = Some(status),
        Reply::Error(error) => line.error = Some(error),
        Reply::End => line.end = true,
    }
    write(&line, out);
}

/// A response, or why it is none.
pub(super) fn read_response(line: &[u8]) -> Result<Response, String> {
    let line: ResponseLine = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    if line.v != VERSION {
        return Err(format!("it speaks version {} of the local socket, this program {VERSION}", line.v));
    }
    let reply = line.message.map(Reply::Message);
    let reply = reply.or(line.receipt.map(Reply::Receipt)).or(line.event.map(Reply::Event));
    let reply = reply.or(line.status.map(Reply::Status)).or(line.hello.map(Reply::Hello));
    let reply = reply.or(line.error.map(Reply::Error)).or(line.done.then_some(Reply::Done));
    let reply = reply.or(line.end.then_some(Reply::End)).ok_or("an answer without content")?;
    Ok(Response { re: line.re, reply })
}

fn write(line: &impl Serialize, out: &mut Vec<u8>) {
    serde_json::to_writer(&mut *out, line).expect("our records have string keys and no failing parts");
    out.push(b'\n');
}

/// Reads a line without its end into `line`; false at the end of the stream. What stands after the last line end
/// counts as a line. Not cancel-safe.
pub(super) async fn read_line(
    reader: &mut (impl AsyncBufRead + Unpin),
    line: &mut Vec<u8>,
    max: usize,
) -> io::Result<bool> {
    line.clear();
    loop {
        let buffer = reader.fill_buf().await?;
        if buffer.is_empty() {
            return Ok(!line.is_empty());
        }
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let part = &buffer[..end.unwrap_or(buffer.len())];
        if line.len() + part.len() > max {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("a line of more than {max} bytes"),
            ));
        }
        line.extend_from_slice(part);
        let used = part.len() + usize::from(end.is_some());
        reader.consume(used);
        if end.is_some() {
            return Ok(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::protocol::Ask;
    use super::*;

    #[tokio::test]
    async fn a_line_of_the_limit_passes_and_one_byte_more_does_not() {
        let mut line = Vec::new();
        let text = b"1234\n\n5678";
        let mut reader = &text[..];
        assert!(read_line(&mut reader, &mut line, 4).await.unwrap());
        assert_eq!(line, b"1234");
        assert!(read_line(&mut reader, &mut line, 4).await.unwrap());
        assert_eq!(line, b"");
        assert!(read_line(&mut reader, &mut line, 4).await.unwrap());
        assert_eq!(line, b"5678");
        assert!(!read_line(&mut reader, &mut line, 4).await.unwrap());
        assert!(read_line(&mut &b"12345\n"[..], &mut line, 4).await.is_err());
    }

    #[test]
    fn requests_are_read_as_documented_and_refused_with_their_number() {
        let request = read_request(br#"{"v":1,"id":7,"do":"join","group":"lobby"}"#).unwrap();
        assert!(
            matches!(request, Request { id: 7, ask: Ask::Join { group, passphrase: None } } if group == "lobby")
        );
        let request = read_request(br#"{"v":1,"do":"status","new":"field"}"#).unwrap();
        assert!(matches!(request, Request { id: 0, ask: Ask::Status }));
        let request = read_request(br#"{"v":1,"id":2,"do":"publish","group":"g","body":"hi"}"#).unwrap();
        assert!(matches!(request.ask, Ask::Publish(record) if record.body == "hi" && !record.live));

        for (line, id, code) in [
            (&br#"{"v":2,"id":3,"do":"fly"}"#[..], 3, "version"),
            (br#"{"id":3,"do":"status"}"#, 3, "version"),
            (br#"{"v":1,"id":4,"do":"fly"}"#, 4, "request"),
            (br#"{"v":1,"id":5,"do":"publish","group":"g","body":"a","body_base64":"YQ=="}"#, 5, "request"),
            (b"garbage", 0, "request"),
            (b"", 0, "request"),
        ] {
            let (re, refused) = read_request(line).expect_err("not a request");
            assert_eq!((re, refused.code.as_str()), (id, code), "{refused}");
        }
    }

    #[test]
    fn requests_and_responses_come_back_as_they_went() {
        let asks = [
            Ask::Follow { group: "g".to_owned(), live: true },
            Ask::Subscribe { group: "g".to_owned(), subject: Some("a/#".to_owned()), skip_own: true },
            Ask::Cancel { of: 9 },
        ];
        for ask in asks {
            let mut out = Vec::new();
            write_request(Request { id: 5, ask: ask.clone() }, &mut out);
            let read = read_request(out.trim_ascii_end()).unwrap();
            assert_eq!((read.id, format!("{:?}", read.ask)), (5, format!("{ask:?}")));
        }
        for reply in [Reply::Done, Reply::End, Reply::Error(Refused::new("busy", "later"))] {
            let mut out = Vec::new();
            write_response(Response { re: 5, reply: reply.clone() }, &mut out);
            let read = read_response(out.trim_ascii_end()).unwrap();
            assert_eq!((read.re, format!("{:?}", read.reply)), (5, format!("{reply:?}")));
        }
    }

    #[test]
    fn a_passphrase_travels_and_is_shown_nowhere() {
        let line = br#"{"v":1,"id":1,"do":"join","group":"lobby","passphrase":"open sesame"}"#;
        let request = read_request(line).expect("a request");
        assert!(!format!("{request:?}").contains("sesame"), "{request:?}");
        let mut written = Vec::new();
        write_request(request, &mut written);
        assert!(String::from_utf8_lossy(&written).contains(r#""passphrase":"open sesame""#));
    }
}
