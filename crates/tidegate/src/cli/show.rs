//! Prints to standard output; a reader that has gone ends the process quietly, as it does any other tool.

use std::{fmt, io, io::Write};

/// Prints a line to standard output.
macro_rules! show {
    ($($text:tt)*) => { $crate::cli::show::line(format_args!($($text)*)) };
}

/// Prints a line.
pub(crate) fn line(text: fmt::Arguments<'_>) {
    bytes(format!("{text}\n").as_bytes());
}

/// Prints bytes as they are.
pub(crate) fn bytes(bytes: &[u8]) {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => {
            eprintln!("error: cannot write: {error}");
            std::process::exit(1);
        }
        Ok(()) => {}
    }
}
