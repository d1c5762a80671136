//! What is sent to the scripts and read from them. What the scripts do is tested with the server itself.

use std::{sync::Arc, time::Duration};

use ::redis::Value;
use model::policy::budget::Period;

use super::{
    Account, Accounts, Answer, Claim, Kind, Refusal,
    claim::{looked, read, settled, terms},
};
use crate::{ledger::Calendar, redis::Client};

fn account(kind: Kind, limit: u128) -> Account {
    Account { subject: "consumer:{app}".into(), name: "b".into(), kind, limit, warn: None }
}

fn ints(numbers: &[i64]) -> Value {
    Value::Array(numbers.iter().map(|number| Value::Int(*number)).collect())
}

#[test]
fn amounts_are_written_exactly_and_periods_follow_each_other() {
    let day = Calendar::new(Period::Day, "UTC").expect("a zone");
    let mut out = Vec::new();
    terms(&account(Kind::Book(day), 9_007_199_254_740_993_000_000_000_001), u128::from(u64::MAX), &mut out);
    assert_eq!(out.len(), 11);
    assert_eq!(out[1..5], ["18446744", "73709551615", "9007199254740993", "1"]);
    let bounds: Vec<i64> = out[5..9].iter().map(|text| text.parse().expect("a second")).collect();
    assert!(bounds.windows(2).all(|pair| pair[1] - pair[0] == 86_400), "{bounds:?}");
    let mut out = Vec::new();
    terms(&account(Kind::Bucket(Duration::from_secs(60)), 100), 7, &mut out);
    assert_eq!(out[..6], ["t", "0", "7", "0", "100", "60000000"]);
}

#[test]
fn answers_are_read_and_what_is_none_is_not() {
    let refused = read(&ints(&[0, 2, 0, 5, 1500, 0, 7, 1, 3]), 2);
    let want = Refusal { left: 5, spent: 7, held: 1_000_000_000_003, wait: Duration::from_millis(1500) };
    assert!(matches!(refused, Some(Answer::Refused(1, found)) if found == want), "{refused:?}");
    let granted = read(&ints(&[1, 99, 1, 5, 0, 7, 20, 86_400, 1]), 1);
    let Some(Answer::Granted(all)) = granted else { panic!("{granted:?}") };
    assert_eq!(
        (all[0].left, all[0].spent, all[0].period, all[0].warns),
        (1_000_000_000_005, 7, 86_400, true)
    );
    for wrong in [ints(&[1, 99, 1, 5]), ints(&[]), Value::Nil, Value::Okay, ints(&[0, 0, 0, 0, 0])] {
        assert!(read(&wrong, 1).is_none(), "{wrong:?}");
    }
    let told = settled(&ints(&[1, 0, 5, 0, 1, 2, 3, 1]));
    assert_eq!(told, [(0, 5, false), (1, 2_000_000_000_003, true)]);
    let found = looked(&ints(&[1, 2, 0, 3, 0, 4, 1])).expect("an account");
    assert_eq!((found.spent, found.held, found.left, found.is_warned), (1_000_000_000_002, 3, 4, true));
    assert!(looked(&ints(&[1, 2, 3])).is_none());
}

/// Accounts in a store that nobody has connected to.
fn accounts() -> Accounts {
    let settings = model::resource::redis::Redis::default();
    let connecting =
        crate::policy::testing::building("", |cx| crate::redis::Connecting::of(&settings, cx.snapshot));
    let client = Arc::new(Client::new(connecting, Duration::from_millis(10)));
    Accounts::new([client.clone(), client], "tg".into(), Duration::from_secs(1))
}

#[tokio::test(start_paused = true)]
async fn what_the_last_calls_cost_is_told_though_nobody_names_the_store_any_more_for_a_while() {
    let accounts = Arc::new(accounts());
    let known = Arc::downgrade(&accounts);
    let settling = tokio::spawn(super::queue::settle(known.clone()));
    tokio::task::yield_now().await;
    let account = Arc::new(account(Kind::Bucket(Duration::from_secs(1)), 1));
    accounts.add(Arc::new([Claim { account, amount: 0, mark: 0 }]), vec![0], vec![7]);
    drop(accounts);
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(known.upgrade().is_some(), "it may be there again");
    settling.await.expect("it ends");
    assert!(known.upgrade().is_none());
}

#[test]
fn keys_of_a_subject_lie_in_one_slot_and_no_name_tells_another() {
    let accounts = accounts();
    let day = Calendar::new(Period::Day, "UTC").expect("a zone");
    let keys = accounts.keys([account(Kind::Book(day), 1)].iter());
    assert_eq!(keys, ["tg:{consumer:%7Bapp%7D}:b", "tg:{consumer:%7Bapp%7D}:b:leases"]);
    let claim = |subject: &str| {
        let account = account(Kind::Bucket(Duration::from_secs(1)), 1);
        Claim { account: Arc::new(Account { subject: subject.into(), ..account }), amount: 1, mark: 0 }
    };
    let claims = [claim("a"), claim("b"), claim("a")];
    assert_eq!(accounts.groups(&claims), [[0, 1, 2]], "one server knows no slots");
}
