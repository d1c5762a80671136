//! The laws of costs: exact, additive, monotonic, and never above what was reserved.

use proptest::prelude::*;

use super::*;
use crate::catalogue::{UnitPrices, find};

fn usage(input: u64, output: u64) -> Usage {
    Usage { input, output, ..Usage::default() }
}

fn dollars(provider: &str, model: &str, usage: &Usage, class: Class) -> String {
    let model = find(provider, model).expect("a known model");
    cost(&model.prices, usage, class).to_string()
}

#[test]
fn costs_are_what_the_price_lists_say() {
    let thousand = usage(1_000_000, 1_000_000);
    assert_eq!(dollars("openai", "gpt-4o", &thousand, Class::Standard), "12.50");
    assert_eq!(dollars("openai", "gpt-4o", &thousand, Class::Batch), "6.25");
    assert_eq!(dollars("openai", "gpt-4o", &usage(1, 0), Class::Standard), "0.0000025");
    // Half from the cache.
    let cached = Usage { cache_read: 500_000, ..usage(1_000_000, 0) };
    assert_eq!(dollars("openai", "gpt-4o", &cached, Class::Standard), "1.875");
    // Written to the cache: 1.25 times for minutes, twice for an hour.
    let written = Usage { cache_write: 1_000_000, ..usage(1_000_000, 0) };
    assert_eq!(dollars("anthropic", "claude-sonnet-4-5", &written, Class::Standard), "3.75");
    let long = Usage { cache_write_long: 400_000, ..written };
    assert_eq!(dollars("anthropic", "claude-sonnet-4-5", &long, Class::Standard), "4.65");
    // Long prompts pay more, for all of their tokens; the edge itself does not.
    assert_eq!(dollars("gemini", "gemini-2.5-pro", &usage(200_000, 1_000), Class::Standard), "0.26");
    assert_eq!(dollars("gemini", "gemini-2.5-pro", &usage(200_001, 1_000), Class::Standard), "0.5150025");
}

#[test]
fn sound_costs_what_sound_costs() {
    let model = find("openai", "gpt-audio").expect("a known model");
    let spoken = Usage { input_audio: 1_000_000, ..usage(1_000_000, 0) };
    let heard = cost(&model.prices, &spoken, Class::Standard);
    assert_eq!(heard, Cost::of(1_000_000, model.prices.tokens.input_audio.expect("sound has a price")));
    assert!(heard > cost(&model.prices, &usage(1_000_000, 0), Class::Standard));
}

#[test]
fn units_cost_what_they_cost() {
    let units = UnitPrices { image: Some(Price(40_000_000_000)), ..UnitPrices::default() };
    let prices = Prices { units, ..Prices::default() };
    let made = Units { images: 3, seconds_in: 60, ..Units::default() };
    assert_eq!(cost_of_units(&prices, &made).to_string(), "0.12", "what has no price costs nothing");
}

#[test]
fn numbers_that_contradict_each_other_pay_no_token_twice() {
    let prices = Prices { tokens: Rates { input: Some(Price(10)), ..Rates::default() }, ..Prices::default() };
    let odd = Usage {
        cache_read: 900,
        cache_write: 900,
        cache_write_long: 5_000,
        input_audio: 900,
        ..usage(1_000, 0)
    };
    assert_eq!(cost(&prices, &odd, Class::Standard), Cost(10_000));
}

#[test]
fn the_highest_numbers_do_not_overflow() {
    let dear = Some(Price(u64::MAX));
    let tokens = Rates { input: dear, output: dear, ..Rates::default() };
    let prices = Prices { tokens, ..Prices::default() };
    let most = usage(u64::MAX, u64::MAX);
    assert_eq!(cost(&prices, &most, Class::Priority), Cost(u128::MAX));
}

#[test]
fn amounts_are_shown_in_dollars() {
    for (picodollars, want) in
        [(0, "0.00"), (1, "0.000000000001"), (1_500_000_000_000, "1.50"), (12_340_000_000, "0.01234")]
    {
        assert_eq!(Cost(picodollars).to_string(), want);
    }
    assert_eq!((Cost(0).microdollars(), Cost(1).microdollars(), Cost(1_000_001).microdollars()), (0, 1, 2));
}

fn price() -> impl Strategy<Value = Option<Price>> {
    prop::option::of((0..200_000_000u64).prop_map(Price))
}

prop_compose! {
    fn flat()(
        (input, output, cache_read, cache_write) in (price(), price(), price(), price()),
        (cache_write_long, input_audio, output_audio) in (price(), price(), price()),
        (input_image, output_image, thought) in (price(), price(), price()),
    ) -> Rates {
        Rates {
            input, output, cache_read, cache_write, cache_write_long, input_audio, output_audio, input_image, output_image,
            thought, over: 0, above: Vec::new(),
        }
    }
}

prop_compose! {
    fn tiered()(base in flat(), tiers in prop::collection::vec((1..200_000u64, flat()), 0..3)) -> Rates {
        let mut above: Vec<Rates> = tiers.into_iter().map(|(over, rates)| Rates { over, ..rates }).collect();
        above.sort_by_key(|tier| tier.over);
        Rates { above, ..base }
    }
}

prop_compose! {
    fn prices()(tokens in tiered(), batch in prop::option::of(tiered()), flex in prop::option::of(tiered()),
                priority in prop::option::of(tiered())) -> Prices {
        Prices { tokens, batch, flex, priority, units: UnitPrices::default() }
    }
}

prop_compose! {
    /// A usage whose parts fit into its totals.
    fn honest()(
        (fresh, read, short, long) in (0..100_000u64, 0..100_000u64, 0..50_000u64, 0..50_000u64),
        (audio, image) in (0..20_000u64, 0..20_000u64),
        (text, thought, spoken, drawn) in (0..50_000u64, 0..50_000u64, 0..20_000u64, 0..20_000u64),
    ) -> Usage {
        Usage {
            input: fresh + read + short + long + audio + image,
            cache_read: read,
            cache_write: short + long,
            cache_write_long: long,
            input_audio: audio,
            input_image: image,
            output: text + thought + spoken + drawn,
            reasoning: thought,
            output_audio: spoken,
            output_image: drawn,
        }
    }
}

fn sum(a: &Usage, b: &Usage) -> Usage {
    Usage {
        input: a.input + b.input,
        cache_read: a.cache_read + b.cache_read,
        cache_write: a.cache_write + b.cache_write,
        cache_write_long: a.cache_write_long + b.cache_write_long,
        input_audio: a.input_audio + b.input_audio,
        input_image: a.input_image + b.input_image,
        output: a.output + b.output,
        reasoning: a.reasoning + b.reasoning,
        output_audio: a.output_audio + b.output_audio,
        output_image: a.output_image + b.output_image,
    }
}

fn class() -> impl Strategy<Value = Class> {
    prop::sample::select(vec![Class::Standard, Class::Batch, Class::Flex, Class::Priority])
}

/// Bounds that a usage stays within, as tight as they go.
fn around(usage: &Usage, class: Class) -> Bounds {
    Bounds {
        input: usage.input,
        output: usage.output,
        audio_in: usage.input_audio > 0,
        audio_out: usage.output_audio > 0,
        images_in: usage.input_image > 0,
        images_out: usage.output_image > 0,
        long_cache: usage.cache_write_long > 0,
        class,
    }
}

proptest! {
    /// Without tiers, two calls cost what one call of both would.
    #[test]
    fn costs_add_up(tokens in flat(), a in honest(), b in honest()) {
        let prices = Prices { tokens, ..Prices::default() };
        let of = |usage: &Usage| cost(&prices, usage, Class::Standard);
        prop_assert_eq!(of(&a) + of(&b), of(&sum(&a, &b)));
    }

    /// Without tiers, more tokens of whatever kind never cost less.
    #[test]
    fn more_never_costs_less(tokens in flat(), a in honest(), b in honest()) {
        let prices = Prices { tokens, ..Prices::default() };
        let of = |usage: &Usage| cost(&prices, usage, Class::Standard);
        prop_assert!(of(&sum(&a, &b)) >= of(&a).max(of(&b)));
    }

    /// Whatever was used within the bounds, and whether the class asked for was served or the common one.
    #[test]
    fn a_reserve_covers_the_cost(prices in prices(), usage in honest(), asked in class(), more in (0..1_000u64, 0..1_000u64)) {
        let mut bounds = around(&usage, asked);
        bounds.input += more.0;
        bounds.output += more.1;
        let reserved = reserve(&prices, &bounds);
        for served in [asked, Class::Standard] {
            prop_assert!(reserved >= cost(&prices, &usage, served));
        }
    }

    /// Any numbers that a provider may tell, and no panic.
    #[test]
    fn any_usage_has_a_cost(prices in prices(), numbers in prop::array::uniform10(any::<u64>()), class in class()) {
        let [input, cache_read, cache_write, cache_write_long, input_audio, input_image, output, reasoning, output_audio,
            output_image] = numbers;
        let usage = Usage {
            input, cache_read, cache_write, cache_write_long, input_audio, input_image, output, reasoning, output_audio,
            output_image,
        };
        let bounds = Bounds { audio_in: true, audio_out: true, images_in: true, images_out: true, long_cache: true,
            ..around(&usage, class) };
        prop_assert!(reserve(&prices, &bounds) >= cost(&prices, &usage, class));
    }
}
