//! Makes a component of its text: `cargo run --package tidegate-wasm --example assemble -- some.wat some.wasm`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(from), Some(to)) = (arguments.next(), arguments.next()) else {
        return Err("expected a file with the text, and one for the component".into());
    };
    let text = std::fs::read_to_string(&from)?;
    // Of a template, whatever is left open is nothing.
    std::fs::write(to, wat::parse_str(text.replace("CODE", ""))?)?;
    Ok(())
}
