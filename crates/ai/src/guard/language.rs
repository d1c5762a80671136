//! Which language a text is in, by its script and its small words: statistics, sure of longer texts alone.

/// Letters from which a text is judged.
const LETTERS_MIN: usize = 24;
/// Words of a text that are counted.
const WORDS_MAX: usize = 400;

/// Languages of the Latin script, with words that most texts in them have.
const WORDS: [(&str, &[&str]); 10] = [
    (
        "en",
        &[
            "the", "and", "of", "to", "is", "in", "that", "it", "for", "you", "are", "what", "this", "with",
            "how", "my", "please",
        ],
    ),
    (
        "de",
        &[
            "der", "die", "das", "und", "ist", "nicht", "ein", "eine", "ich", "sie", "zu", "mit", "wie",
            "auf", "den", "für", "von", "bitte",
        ],
    ),
    (
        "fr",
        &[
            "le", "la", "les", "et", "est", "une", "des", "que", "pour", "vous", "dans", "je", "pas", "qui",
            "du", "sur", "avec", "ce",
        ],
    ),
    (
        "es",
        &[
            "el", "los", "las", "que", "de", "y", "es", "una", "por", "para", "con", "cómo", "qué", "del",
            "se", "está", "lo", "su",
        ],
    ),
    (
        "it",
        &[
            "il", "lo", "gli", "che", "di", "è", "una", "per", "con", "non", "sono", "come", "della", "del",
            "questo", "si", "mi", "le",
        ],
    ),
    (
        "pt",
        &[
            "o", "os", "as", "que", "de", "e", "é", "uma", "para", "com", "não", "como", "do", "da", "você",
            "um", "em", "se",
        ],
    ),
    (
        "nl",
        &[
            "de", "het", "een", "en", "is", "van", "dat", "niet", "ik", "je", "te", "op", "met", "voor",
            "zijn", "hoe", "wat", "er",
        ],
    ),
    (
        "pl",
        &[
            "i", "w", "na", "się", "nie", "jest", "że", "do", "to", "jak", "z", "co", "czy", "dla", "są",
            "ale", "przez", "proszę",
        ],
    ),
    (
        "sv",
        &[
            "och", "att", "det", "är", "en", "som", "på", "för", "inte", "jag", "med", "av", "till", "den",
            "hur", "vad", "ett", "har",
        ],
    ),
    (
        "tr",
        &[
            "ve", "bir", "bu", "için", "ile", "ne", "de", "da", "çok", "nasıl", "var", "mi", "ben", "olarak",
            "gibi", "daha", "en", "değil",
        ],
    ),
];

/// Every language that can be told.
pub const KNOWN: [&str; 20] = [
    "en", "de", "fr", "es", "it", "pt", "nl", "pl", "sv", "tr", "ru", "uk", "el", "ar", "he", "hi", "th",
    "zh", "ja", "ko",
];

/// The language of a text, where it can be told.
pub fn of(text: &str) -> Option<&'static str> {
    let mut counts = [0_usize; 10];
    let mut letters = 0;
    let (mut kana, mut ukrainian) = (0, 0);
    for letter in text.chars().filter(|letter| letter.is_alphabetic()) {
        letters += 1;
        kana += usize::from(matches!(letter, '\u{3040}'..='\u{30ff}'));
        ukrainian += usize::from("іїєґІЇЄҐ".contains(letter));
        if let Some(script) = script(letter) {
            counts[script] += 1;
        }
    }
    let (most, count) = counts.iter().enumerate().max_by_key(|(_, count)| **count)?;
    // A sign of Chinese is a word.
    let least = if most >= 7 { LETTERS_MIN / 4 } else { LETTERS_MIN };
    if letters < least || count * 10 < letters * 6 {
        return None;
    }
    match most {
        0 => latin(text),
        1 if ukrainian * 100 > letters => Some("uk"),
        1 => Some("ru"),
        2 => Some("el"),
        3 => Some("ar"),
        4 => Some("he"),
        5 => Some("hi"),
        6 => Some("th"),
        7 if kana * 10 > letters => Some("ja"),
        7 => Some("zh"),
        8 => Some("ko"),
        _ => None,
    }
}

fn script(letter: char) -> Option<usize> {
    Some(match letter {
        'a'..='z' | 'A'..='Z' | '\u{c0}'..='\u{24f}' | '\u{1e00}'..='\u{1eff}' => 0,
        '\u{400}'..='\u{52f}' => 1,
        '\u{370}'..='\u{3ff}' => 2,
        '\u{600}'..='\u{6ff}' | '\u{750}'..='\u{77f}' => 3,
        '\u{590}'..='\u{5ff}' => 4,
        '\u{900}'..='\u{97f}' => 5,
        '\u{e00}'..='\u{e7f}' => 6,
        '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' => 7,
        '\u{ac00}'..='\u{d7af}' | '\u{1100}'..='\u{11ff}' => 8,
        _ => return None,
    })
}

fn latin(text: &str) -> Option<&'static str> {
    let mut scores = [0_usize; WORDS.len()];
    let lower = text.to_lowercase();
    let words = lower.split(|letter: char| !letter.is_alphabetic()).filter(|word| !word.is_empty());
    let mut count = 0;
    for word in words.take(WORDS_MAX) {
        count += 1;
        for (score, (_, known)) in scores.iter_mut().zip(WORDS) {
            *score += usize::from(known.contains(&word));
        }
    }
    let (best, score) = scores.iter().enumerate().max_by_key(|(_, score)| **score)?;
    let second = scores.iter().enumerate().filter(|(at, _)| *at != best).map(|(_, score)| *score).max()?;
    // An eighth of the words, and clearly more than of any other language.
    let sure = *score >= 2 && score * 8 >= count && *score * 2 > second * 3;
    sure.then(|| WORDS.get(best).map(|(name, _)| *name)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longer_texts_are_told() {
        for (text, want) in [
            ("What is the best way to learn how the tides of the sea work?", Some("en")),
            ("Wie ist das Wetter heute, und was ist mit dem Wind auf der See?", Some("de")),
            ("Quelle est la hauteur de la marée dans le port pour demain ?", Some("fr")),
            ("¿Cómo se llama el puerto que está en la costa de los vientos?", Some("es")),
            ("Какая сегодня погода на берегу моря?", Some("ru")),
            ("Яка сьогодні погода на березі моря, і чи є вітер?", Some("uk")),
            ("今日の天気はどうですか", Some("ja")),
            ("今天海边的天气怎么样", Some("zh")),
            ("오늘 바다의 날씨는 어떻습니까", Some("ko")),
            ("ما هو الطقس اليوم على شاطئ البحر", Some("ar")),
            ("ok", None),
            ("Lorem ipsum dolor sit amet consectetur adipiscing elit", None),
            ("1234567890 1234567890 1234567890", None),
        ] {
            assert_eq!(of(text), want, "{text}");
        }
    }
}
