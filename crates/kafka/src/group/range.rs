//! Who gets what: the partitions of topics, divided among those who want them.

use std::sync::Arc;

use crate::{api::Share, cluster::Cluster, error::Error};

/// Divides the partitions of all topics among those who want them, in ranges, as every client does.
pub(super) async fn divided(
    cluster: &Arc<Cluster>,
    members: &[(String, Vec<String>)],
) -> Result<Vec<(String, Share)>, Error> {
    let mut topics: Vec<&String> = members.iter().flat_map(|(_, topics)| topics).collect();
    topics.sort_unstable();
    topics.dedup();
    let mut counts = Vec::new();
    for topic in topics {
        let count = match cluster.partitions(topic).await {
            Ok(count) => count,
            // Others may want what is not there.
            Err(Error::Said(_)) => 0,
            Err(error) => return Err(error),
        };
        counts.push((topic.as_str(), count));
    }
    Ok(ranges(members, &counts))
}

fn ranges(members: &[(String, Vec<String>)], counts: &[(&str, usize)]) -> Vec<(String, Share)> {
    let mut shares: Vec<(String, Share)> =
        members.iter().map(|(name, _)| (name.clone(), Vec::new())).collect();
    shares.sort_unstable();
    for (topic, count) in counts {
        let wants = |name: &str| {
            members.iter().any(|(known, topics)| known == name && topics.iter().any(|one| one == topic))
        };
        let takers: Vec<usize> =
            shares.iter().enumerate().filter(|(_, (name, _))| wants(name)).map(|(place, _)| place).collect();
        if takers.is_empty() {
            continue;
        }
        let (each, more) = (count / takers.len(), count % takers.len());
        let mut next = 0;
        for (turn, taker) in takers.into_iter().enumerate() {
            let many = each + usize::from(turn < more);
            let some: Vec<i32> =
                (next..next + many).filter_map(|number| i32::try_from(number).ok()).collect();
            next += many;
            if let Some((_, share)) = shares.get_mut(taker).filter(|_| !some.is_empty()) {
                share.push(((*topic).to_owned(), some));
            }
        }
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_divided_as_other_clients_divide_them() {
        let member = |name: &str, topics: &[&str]| {
            (name.to_owned(), topics.iter().map(|topic| (*topic).to_owned()).collect())
        };
        let members = [member("b", &["t"]), member("a", &["t", "u"]), member("c", &["t"])];
        let share = |topic: &str, some: &[i32]| (topic.to_owned(), some.to_vec());
        assert_eq!(
            ranges(&members, &[("t", 4), ("u", 2), ("w", 3)]),
            [
                ("a".to_owned(), vec![share("t", &[0, 1]), share("u", &[0, 1])]),
                ("b".to_owned(), vec![share("t", &[2])]),
                ("c".to_owned(), vec![share("t", &[3])]),
            ]
        );
        assert_eq!(ranges(&members[..1], &[("t", 0)]), [("b".to_owned(), vec![])]);
    }
}
