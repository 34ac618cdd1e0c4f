//! A host behind a socket.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{Asked, Host, Reply};

/// A host that is being served, until this is dropped.
#[derive(Debug)]
pub struct Served {
    /// Where.
    pub address: SocketAddr,
    stop: Arc<AtomicBool>,
}

impl Served {
    /// Host and port, as an address has them.
    #[must_use]
    pub fn authority(&self) -> String {
        format!("127.0.0.1:{}", self.address.port())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the listener.
        let _ = TcpStream::connect(self.address);
    }
}

/// Serves a host on a port of this machine, with a thread for each connection.
///
/// # Errors
///
/// Returns the system's error if there is no port.
pub fn serve(host: Arc<dyn Host>) -> io::Result<Served> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    thread::spawn(move || {
        for stream in listener.incoming() {
            if stopped.load(Ordering::Relaxed) {
                return;
            }
            let Ok(stream) = stream else { continue };
            let host = host.clone();
            thread::spawn(move || {
                // A client that goes away is none of ours to report.
                let _ = converse(&*host, stream);
            });
        }
    });
    Ok(Served { address, stop })
}

fn converse(host: &dyn Host, stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    while let Some(asked) = read(&mut reader)? {
        let Some(reply) = host.handle(&asked) else { return Ok(()) };
        write(&mut stream, &reply)?;
        if reply.cut {
            return stream.shutdown(std::net::Shutdown::Both);
        }
    }
    Ok(())
}

fn read(reader: &mut BufReader<TcpStream>) -> io::Result<Option<Asked>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let (method, target) = (words.next().unwrap_or("").to_owned(), words.next().unwrap_or("/").to_owned());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
    let get =
        |name: &str| headers.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone());
    let length = get("Content-Length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = Vec::new();
    reader.take(length).read_to_end(&mut body)?;
    if body.len() as u64 != length {
        return Ok(None);
    }
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let host = get("Host").unwrap_or_default();
    Ok(Some(Asked { method, host, path: path.to_owned(), query: query.to_owned(), headers, body }))
}

fn write(stream: &mut TcpStream, reply: &Reply) -> io::Result<()> {
    let mut head = format!("HTTP/1.1 {} Status\r\n", reply.status);
    for (name, value) in &reply.headers {
        head.extend([name.as_str(), ": ", value.as_str(), "\r\n"]);
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes())?;
    let begun = Instant::now();
    let mut sent = 0;
    for part in reply.body.chunks(64 << 10) {
        stream.write_all(part)?;
        sent += part.len();
        if let Some(rate) = reply.rate {
            let due = Duration::from_micros((sent as u64).saturating_mul(1_000_000) / rate.max(1));
            thread::sleep(due.saturating_sub(begun.elapsed()));
        }
    }
    stream.flush()
}
