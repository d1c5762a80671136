//! The metrics of `/metrics` as OTLP's: cumulative sums, gauges and explicit-bounds histograms.
//!
//! Names are those of `/metrics`, so that one query fits both ways in. Units are told by the name's ending.

use super::{
    proto::{Data, Gauge, Histogram, HistogramPoint, KeyValue, Metric, NumberPoint, Sum},
    resource::text,
};
use crate::metrics::{BOUNDS_MICROS, Family, Kind, Sample, Value};

/// Points of one request: receivers of gRPC take 4 MiB unless told otherwise.
const POINTS_MAX: usize = 4096;
/// `AGGREGATION_TEMPORALITY_CUMULATIVE`.
const CUMULATIVE: i32 = 2;

/// From when and to when values were counted, in nanoseconds since 1970.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    pub(super) start: u64,
    pub(super) now: u64,
}

/// The families as metrics in requests of bounded size, each with the number of its points.
pub(super) fn requests(families: Vec<Family>, window: Window) -> Vec<(Vec<Metric>, usize)> {
    let mut requests = vec![(Vec::new(), 0)];
    for mut family in families {
        while !family.samples.is_empty() {
            let room = POINTS_MAX - requests.last().map_or(0, |(_, points)| *points);
            if room == 0 {
                requests.push((Vec::new(), 0));
                continue;
            }
            let rest = family.samples.split_off(room.min(family.samples.len()));
            let samples = std::mem::replace(&mut family.samples, rest);
            if let Some((metrics, points)) = requests.last_mut() {
                *points += samples.len();
                metrics.push(metric(&family, samples, window));
            }
        }
    }
    requests.retain(|(_, points)| *points > 0);
    requests
}

fn metric(family: &Family, samples: Vec<Sample>, window: Window) -> Metric {
    let data = match family.kind {
        Kind::Gauge => Data::Gauge(Gauge { data_points: numbers(samples, Window { start: 0, ..window }) }),
        Kind::Counter => Data::Sum(Sum {
            data_points: numbers(samples, window),
            aggregation_temporality: CUMULATIVE,
            is_monotonic: true,
        }),
        Kind::Histogram => Data::Histogram(Histogram {
            data_points: samples.into_iter().filter_map(|sample| histogram(sample, window)).collect(),
            aggregation_temporality: CUMULATIVE,
        }),
    };
    if let Some(metric) = conventional(family, &data) {
        return metric;
    }
    let name = family.name.trim_end_matches("_total");
    let unit = if name.ends_with("_seconds") {
        "s"
    } else if name.ends_with("_bytes") {
        "By"
    } else {
        "1"
    };
    Metric {
        name: family.name.clone(),
        description: family.help.clone(),
        unit: unit.to_owned(),
        data: Some(data),
    }
}

/// The metrics that OpenTelemetry's conventions name, with their units.
const CONVENTIONAL: [(&str, &str, &str); 4] = [
    ("gen_ai_client_operation_duration_seconds", "gen_ai.client.operation.duration", "s"),
    ("gen_ai_client_token_usage", "gen_ai.client.token.usage", "{token}"),
    ("gen_ai_server_time_to_first_token_seconds", "gen_ai.server.time_to_first_token", "s"),
    ("gen_ai_server_time_per_output_token_seconds", "gen_ai.server.time_per_output_token", "s"),
];

/// A metric of the conventions, under its own name and with their attributes.
fn conventional(family: &Family, data: &Data) -> Option<Metric> {
    let (_, name, unit) = CONVENTIONAL.iter().find(|(page, ..)| *page == family.name)?;
    let mut data = data.clone();
    if let Data::Histogram(histogram) = &mut data {
        for attribute in histogram.data_points.iter_mut().flat_map(|point| &mut point.attributes) {
            attribute.key = match attribute.key.strip_prefix("gen_ai_") {
                Some(rest) => format!("gen_ai.{}", rest.replacen('_', ".", 1)),
                None => attribute.key.replace('_', "."),
            };
        }
    }
    Some(Metric {
        name: (*name).to_owned(),
        description: family.help.clone(),
        unit: (*unit).to_owned(),
        data: Some(data),
    })
}

fn attributes(labels: Vec<(String, String)>) -> Vec<KeyValue> {
    labels.into_iter().map(|(name, value)| text(&name, value)).collect()
}

fn numbers(samples: Vec<Sample>, window: Window) -> Vec<NumberPoint> {
    let point = |sample: Sample| match sample.value {
        Value::Number(value) => Some(NumberPoint {
            attributes: attributes(sample.labels),
            start_time_unix_nano: window.start,
            time_unix_nano: window.now,
            as_double: Some(value),
        }),
        Value::Durations(_) | Value::Buckets(_) => None,
    };
    samples.into_iter().filter_map(point).collect()
}

fn histogram(sample: Sample, window: Window) -> Option<HistogramPoint> {
    let (count, sum, bucket_counts, explicit_bounds) = match sample.value {
        Value::Number(_) => return None,
        Value::Durations(durations) => (
            durations.count(),
            durations.sum_micros as f64 / 1e6,
            durations.counts.to_vec(),
            BOUNDS_MICROS.iter().map(|bound| *bound as f64 / 1e6).collect(),
        ),
        Value::Buckets(buckets) => (buckets.count(), buckets.sum, buckets.counts, buckets.bounds.to_vec()),
    };
    Some(HistogramPoint {
        attributes: attributes(sample.labels),
        start_time_unix_nano: window.start,
        time_unix_nano: window.now,
        count,
        sum: Some(sum),
        bucket_counts,
        explicit_bounds,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn family(samples: usize) -> Family {
        let sample = |number: usize| Sample {
            labels: vec![("n".into(), number.to_string())],
            value: Value::Number(1.0),
        };
        Family {
            name: "tidegate_request_bytes_total".into(),
            help: "Bytes.".into(),
            kind: Kind::Counter,
            samples: (0..samples).map(sample).collect(),
        }
    }

    #[test]
    fn many_points_leave_in_requests_of_bounded_size_and_none_is_lost() {
        let window = Window { start: 1, now: 2 };
        let requests = requests(vec![family(10), family(2 * POINTS_MAX), family(0)], window);
        let sizes: Vec<usize> = requests.iter().map(|(_, points)| *points).collect();
        assert_eq!(sizes, [POINTS_MAX, POINTS_MAX, 10]);
        let mut seen = 0;
        for metric in requests.iter().flat_map(|(metrics, _)| metrics) {
            let Some(Data::Sum(sum)) = &metric.data else { panic!("a sum") };
            assert!(sum.is_monotonic && sum.aggregation_temporality == CUMULATIVE);
            assert_eq!(metric.unit, "By");
            seen += sum.data_points.len();
        }
        assert_eq!(seen, 10 + 2 * POINTS_MAX);
    }
}
