//! Voices: what one that a caller names is called at a vendor. The operator's own names come first, then those that
//! the vendor has; a name of neither is refused with the names that there are.

use super::{To, Words};
use crate::canon::Error;

/// Gemini's prebuilt voices (Gemini API: Speech generation, Voice options).
const GEMINI: [&str; 30] = [
    "Zephyr",
    "Puck",
    "Charon",
    "Kore",
    "Fenrir",
    "Leda",
    "Orus",
    "Aoede",
    "Callirrhoe",
    "Autonoe",
    "Enceladus",
    "Iapetus",
    "Umbriel",
    "Algieba",
    "Despina",
    "Erinome",
    "Algenib",
    "Rasalgethi",
    "Laomedeia",
    "Achernar",
    "Alnilam",
    "Schedar",
    "Gacrux",
    "Pulcherrima",
    "Achird",
    "Zubenelgenubi",
    "Vindemiatrix",
    "Sadachbia",
    "Sadaltager",
    "Sulafat",
];

/// Deepgram's voices by family and language (Deepgram SDK 7.17, `AudioGenerateRequestModel`).
const DEEPGRAM: [(&str, &str, &str); 8] = [
    ("aura", "en", "angus arcas asteria athena helios hera luna orion orpheus perseus stella zeus"),
    (
        "aura-2",
        "en",
        "amalthea andromeda apollo arcas aries asteria athena atlas aurora callista cora cordelia delia draco electra \
         harmonia helena hera hermes hyperion iris janus juno jupiter luna mars minerva neptune odysseus ophelia orion \
         orpheus pandora phoebe pluto saturn selene thalia theia vesta zeus",
    ),
    (
        "aura-2",
        "es",
        "agustina alvaro antonia aquila carina celeste diana estrella gloria javier luciano nestor olivia selena \
         silvia sirio valerio",
    ),
    ("aura-2", "de", "aurelia elara fabian julius kara lara viktoria"),
    ("aura-2", "nl", "beatrix cornelia daphne hestia lars leda rhea roman sander"),
    ("aura-2", "fr", "agathe hector"),
    ("aura-2", "it", "cesare cinzia demetra dionisio elio flavio livia maia melia"),
    ("aura-2", "ja", "ama ebisu fujin izanami uzume"),
];

/// OpenAI's own voices, which nobody else has by these names (OpenAI: Text to speech, Voice options).
const OPENAI: [&str; 13] = [
    "alloy", "ash", "ballad", "cedar", "coral", "echo", "fable", "marin", "nova", "onyx", "sage", "shimmer",
    "verse",
];

/// What the vendor calls a voice.
pub(super) fn resolve(to: &To<'_>, wanted: &str) -> Result<String, Error> {
    // What the operator says may be short for a name of the vendor's.
    let named = |voice: &String| own(to, voice).unwrap_or_else(|| voice.clone());
    let found = to.voices.get(wanted).map(named).or_else(|| own(to, wanted));
    found.or_else(|| to.voices.get("*").map(named)).ok_or_else(|| unknown(to, wanted))
}

/// A voice that the vendor has by this name.
fn own(to: &To<'_>, wanted: &str) -> Option<String> {
    match to.words {
        Words::ElevenLabs => {
            // Ids of voices are letters and digits; no name of OpenAI's is so long.
            let is_id =
                (16..=64).contains(&wanted.len()) && wanted.bytes().all(|byte| byte.is_ascii_alphanumeric());
            is_id.then(|| wanted.to_owned())
        }
        Words::Google => {
            GEMINI.into_iter().find(|voice| voice.eq_ignore_ascii_case(wanted)).map(str::to_owned)
        }
        Words::Deepgram => {
            let wanted = wanted.to_ascii_lowercase();
            if is_whole(&wanted) {
                return Some(wanted);
            }
            let has = |(family, _, names): &&(&str, &str, &str)| {
                *family == to.model && names.split(' ').any(|name| name == wanted)
            };
            DEEPGRAM.iter().find(has).map(|(family, language, _)| format!("{family}-{wanted}-{language}"))
        }
        Words::MiniMax => {
            let is_openais = OPENAI.iter().any(|voice| voice.eq_ignore_ascii_case(wanted));
            (!is_openais && !wanted.is_empty()).then(|| wanted.to_owned())
        }
        _ => None,
    }
}

/// Whether a name of Deepgram's is that of a voice: `aura-2-thalia-en`, not the family `aura-2`.
pub(super) fn is_whole(name: &str) -> bool {
    let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    is_plain && name.starts_with("aura-") && name.split('-').filter(|piece| piece.len() > 1).count() >= 3
}

fn unknown(to: &To<'_>, wanted: &str) -> Error {
    let own = match to.words {
        Words::ElevenLabs => {
            "the id of a voice of ElevenLabs (letters and digits, as its `GET /v1/voices` tells it)"
                .to_owned()
        }
        Words::Google => format!("one of {}", GEMINI.join(", ")),
        Words::Deepgram => {
            let of = DEEPGRAM.iter().filter(|(family, _, _)| *family == to.model);
            let names: Vec<String> = of.map(|(_, _, names)| names.replace(' ', ", ")).collect();
            match names.is_empty() {
                true => "a model that speaks: aura-2, or one such as aura-2-thalia-en".to_owned(),
                false => format!("one of {}", names.join(", ")),
            }
        }
        _ => "the id of a voice of MiniMax, such as English_expressive_narrator".to_owned(),
    };
    let mut named: Vec<&str> = to.voices.keys().map(String::as_str).collect();
    named.sort_unstable();
    let named = match named.is_empty() {
        true => String::new(),
        false => format!(", or a voice of this gateway's: {}", named.join(", ")),
    };
    Error::invalid(
        "voice",
        format!("`voice`: `{wanted}` is no voice of `{}`; expected {own}{named}", to.model),
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn check(words: Words, model: &str, wanted: &str, want: Result<&str, &str>) {
        let voices = BTreeMap::from([("anna".to_owned(), "own-1".to_owned())]);
        let found = resolve(&To { words, model, voices: &voices }, wanted);
        match want {
            Ok(voice) => assert_eq!(found.as_deref().ok(), Some(voice), "{wanted}"),
            Err(word) => {
                let error = found.expect_err(wanted);
                assert!(error.message.contains(word) && error.status == 400, "{wanted}: {}", error.message);
            }
        }
    }

    #[test]
    fn names_are_the_operators_then_the_vendors_and_others_are_refused_by_name() {
        use Words::{Deepgram, ElevenLabs, Google, MiniMax};
        check(ElevenLabs, "m", "anna", Ok("own-1"));
        check(ElevenLabs, "m", "JBFqnCBsd6RMkjVDRZzb", Ok("JBFqnCBsd6RMkjVDRZzb"));
        check(ElevenLabs, "m", "alloy", Err("anna"));
        check(ElevenLabs, "m", "../../admin/voices", Err("id"));
        check(Google, "m", "kore", Ok("Kore"));
        check(Google, "m", "alloy", Err("Zephyr, Puck"));
        check(Deepgram, "aura-2", "thalia", Ok("aura-2-thalia-en"));
        check(Deepgram, "aura-2", "Lara", Ok("aura-2-lara-de"));
        check(Deepgram, "aura", "stella", Ok("aura-stella-en"));
        check(Deepgram, "aura-2", "aura-2-new-xx", Ok("aura-2-new-xx"));
        check(Deepgram, "aura-2", "aura-2", Err("thalia"));
        check(Deepgram, "aura-2", "aura-2-x&y-en", Err("thalia"));
        check(Deepgram, "aura-2", "alloy", Err("viktoria"));
        check(Deepgram, "nova-3", "thalia", Err("a model that speaks"));
        check(MiniMax, "m", "Wise_Woman", Ok("Wise_Woman"));
        check(MiniMax, "m", "alloy", Err("MiniMax"));
        let voices = BTreeMap::from([("*".to_owned(), "fallback".to_owned())]);
        let to = To { words: ElevenLabs, model: "m", voices: &voices };
        assert_eq!(resolve(&to, "alloy").as_deref(), Ok("fallback"));
        let voices = BTreeMap::from([("alloy".to_owned(), "thalia".to_owned())]);
        let to = To { words: Deepgram, model: "aura-2", voices: &voices };
        assert_eq!(resolve(&to, "alloy").as_deref(), Ok("aura-2-thalia-en"));
    }
}
