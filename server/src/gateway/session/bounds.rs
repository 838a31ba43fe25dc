//! The bounds of what a client says about itself, each refused by name, number and limit.

use crate::config::Limits;
use crate::gateway::close::{Close, Ending};
use crate::gateway::wire;
use crate::model::{Position, TopicKey};
use chirm_proto::v1;
use std::collections::HashMap;

const VIEW_CHANNELS_MAX: usize = 100;
const VIEW_LISTS_MAX: usize = 10;
const VIEW_USERS_MAX: usize = 100;
const LIST_RANGES_MAX: usize = 5;
const RANGE_PLACES_MAX: i32 = 100;

fn invalid(detail: String) -> Ending {
    Ending::of(Close::FieldInvalid, detail)
}

fn at_most(field: &str, given: usize, max: usize) -> Result<(), Ending> {
    if given > max {
        return Err(invalid(format!("{field}: {given} given, {max} at most")));
    }
    Ok(())
}

/// A frame over the limit.
pub(super) fn too_large(limits: &Limits) -> Ending {
    let (frame, identify) = (limits.request_bytes_max, limits.identify_bytes_max);
    let detail = format!("a frame has {frame} bytes at most, one with identify {identify}");
    Ending::of(Close::TooLarge, detail)
}

/// Checks `identify`. Answers the positions presented, by topic.
pub(super) fn check_identify(
    identify: &v1::Identify,
    limits: &Limits,
) -> Result<HashMap<TopicKey, Position>, Ending> {
    at_most(
        "identify.positions",
        identify.positions.len(),
        limits.positions_max,
    )?;
    let (chars, max) = (identify.device.chars().count(), limits.name_chars_max);
    if chars > max {
        let detail = format!("identify.device: {chars} characters, {max} at most");
        return Err(invalid(detail));
    }
    if v1::Delivery::try_from(identify.delivery).is_err() {
        let detail = format!("identify.delivery: {} is none", identify.delivery);
        return Err(invalid(detail));
    }
    wire::status(identify.presence)
        .map_err(|problem| invalid(format!("identify.presence: {problem}")))?;
    let mut held = HashMap::new();
    if let Some(view) = &identify.view {
        check_view("identify.view", view)?;
        for channel in &view.channels {
            if let Some(position) = &channel.position {
                let topic = TopicKey::channel(channel.channel_id);
                held.insert(topic, wire::position(position));
            }
        }
    }
    for (index, presented) in identify.positions.iter().enumerate() {
        let problem = |part: &str| invalid(format!("identify.positions[{index}].{part}"));
        let topic = wire::topic_key(presented.topic.as_ref())
            .ok_or_else(|| problem("topic: missing, or its kind or id is none"))?;
        let position = presented.position.as_ref();
        let position = position.ok_or_else(|| problem("position: missing"))?;
        held.insert(topic, wire::position(position));
    }
    Ok(held)
}

/// Checks a view; `field` is where it stands.
pub(super) fn check_view(field: &str, view: &v1::View) -> Result<(), Ending> {
    for (part, given, max) in [
        ("channels", view.channels.len(), VIEW_CHANNELS_MAX),
        ("member_lists", view.member_lists.len(), VIEW_LISTS_MAX),
        ("users", view.users.len(), VIEW_USERS_MAX),
    ] {
        at_most(&format!("{field}.{part}"), given, max)?;
    }
    for (index, list) in view.member_lists.iter().enumerate() {
        let ranges = format!("{field}.member_lists[{index}].ranges");
        at_most(&ranges, list.ranges.len(), LIST_RANGES_MAX)?;
        for (index, range) in list.ranges.iter().enumerate() {
            let v1::MemberRange { start, count } = range;
            if *start < 0 || !(1..=RANGE_PLACES_MAX).contains(count) {
                let detail = format!(
                    "{ranges}[{index}]: {count} places from {start}; \
                     1 to {RANGE_PLACES_MAX} from 0 on are allowed"
                );
                return Err(invalid(detail));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal<T>(checked: Result<T, Ending>) -> String {
        checked.err().expect("refused").message().to_owned()
    }

    fn range(start: i32, count: i32) -> v1::View {
        let lists = v1::MemberListView {
            server_id: 1,
            ranges: vec![v1::MemberRange { start, count }],
        };
        v1::View {
            member_lists: vec![lists],
            ..Default::default()
        }
    }

    #[test]
    fn a_view_over_a_limit_says_which() {
        let view = v1::View {
            channels: vec![v1::ViewedChannel::default(); 101],
            ..Default::default()
        };
        let told = refusal(check_view("view", &view));
        assert_eq!(told, "view.channels: 101 given, 100 at most");
        let view = v1::View {
            users: vec![1; 101],
            ..Default::default()
        };
        let told = refusal(check_view("view", &view));
        assert_eq!(told, "view.users: 101 given, 100 at most");
        let mut view = range(0, 100);
        check_view("view", &view).expect("at the limit");
        view.member_lists[0].ranges = vec![v1::MemberRange { start: 0, count: 1 }; 6];
        let told = refusal(check_view("identify.view", &view));
        assert_eq!(
            told,
            "identify.view.member_lists[0].ranges: 6 given, 5 at most"
        );
        for (start, count) in [(-1, 1), (0, 0), (0, 101), (0, -1)] {
            let told = refusal(check_view("view", &range(start, count)));
            assert!(told.starts_with("view.member_lists[0].ranges[0]"), "{told}");
        }
        view.member_lists = vec![v1::MemberListView::default(); 11];
        let told = refusal(check_view("view", &view));
        assert_eq!(told, "view.member_lists: 11 given, 10 at most");
    }

    #[test]
    fn a_position_of_what_is_no_topic_is_refused_by_its_place() {
        let limits = crate::config::Config::default().limits;
        let held = |kind: i32, id: i64| v1::TopicPosition {
            topic: Some(v1::Topic { kind, id }),
            position: Some(v1::Position { epoch: 1, seq: 2 }),
        };
        let identify = |second: v1::TopicPosition| v1::Identify {
            positions: vec![held(1, 7), second],
            ..Default::default()
        };
        let good = check_identify(&identify(held(3, 8)), &limits).expect("two topics");
        assert_eq!(good.len(), 2);
        let no_topic = v1::TopicPosition {
            topic: None,
            ..held(1, 7)
        };
        for bad in [held(0, 7), held(9, 7), held(1, 0), held(1, -7), no_topic] {
            let told = refusal(check_identify(&identify(bad), &limits));
            assert!(told.starts_with("identify.positions[1].topic"), "{told}");
        }
        let no_position = v1::TopicPosition {
            position: None,
            ..held(1, 7)
        };
        let told = refusal(check_identify(&identify(no_position), &limits));
        assert_eq!(told, "identify.positions[1].position: missing");
    }
}
