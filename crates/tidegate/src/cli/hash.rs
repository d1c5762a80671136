//! `hash`: what a configuration knows of a key or a password, in place of the key or the password.

use std::io::{BufRead, IsTerminal};

use clap::Args;

use super::Done;
use crate::exit::Exit;

/// Random bytes of a key that is made.
const KEY_BYTES: usize = 32;
/// Bytes of a line that is read.
const LINE_BYTES_MAX: u64 = 4096;

/// What to hash. It is read from standard input, never from the command line, which others may see.
#[derive(Args)]
pub(crate) struct HashArgs {
    /// Refused: whoever writes a key here is told where it belongs.
    #[arg(hide = true)]
    given: Option<String>,
    /// Hash a password, for `consumers[].basic[].password`: with Argon2, which takes long for whoever tries words.
    #[arg(long, conflicts_with = "generate")]
    password: bool,
    /// Make a random API key, and print it beside its hash.
    #[arg(long)]
    generate: bool,
    /// What a key that is made begins with, such as `shop_`: people and scanners see whose it is.
    #[arg(long, requires = "generate", default_value = "tg_")]
    prefix: String,
}

/// Prints the hash of what comes on standard input, or of a new key.
pub(crate) fn hash(args: &HashArgs) -> Done {
    match line_of(args) {
        Ok(text) => {
            show!("{text}");
            Ok(())
        }
        Err(error) => {
            eprintln!("error: {error}");
            Err(Exit::Failed)
        }
    }
}

fn line_of(args: &HashArgs) -> Result<String, String> {
    if args.given.is_some() {
        return Err(
            "what is hashed is read from standard input, never from the command line, which others may see: \
                    `printf %s KEY | tidegate hash`"
                .to_owned(),
        );
    }
    if args.generate {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        if !args.prefix.bytes().all(is_plain) {
            return Err("a prefix has letters, digits, `_` and `-`".to_owned());
        }
        let mut bytes = [0; KEY_BYTES];
        aws_lc_rs::rand::fill(&mut bytes).map_err(|_| "the system gives no random bytes".to_owned())?;
        let key = format!("{}{}", args.prefix, hex(&bytes));
        return Ok(format!("key: {key}\nsha256: {}", sha256(key.as_bytes())));
    }
    if std::io::stdin().is_terminal() {
        let what = if args.password { "password" } else { "key" };
        eprintln!("Type the {what} and press Enter; it is shown as you type.");
    }
    let mut line = String::new();
    let mut input = std::io::Read::take(std::io::stdin().lock(), LINE_BYTES_MAX);
    input.read_line(&mut line).map_err(|error| format!("cannot read standard input: {error}"))?;
    let text = line.strip_suffix('\n').unwrap_or(&line);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() {
        return Err("there is nothing on standard input to hash".to_owned());
    }
    match args.password {
        true => proxy::hash_password(text.as_bytes()),
        false if text.bytes().all(|byte| (0x21..=0x7e).contains(&byte)) => {
            Ok(format!("sha256: {}", sha256(text.as_bytes())))
        }
        false => {
            Err("an API key has no spaces and nothing outside of ASCII; passwords need `--password`"
                .to_owned())
        }
    }
}

fn sha256(text: &[u8]) -> String {
    hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
