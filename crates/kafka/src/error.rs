//! What goes wrong, and what brokers call it.

use std::fmt;

use crate::wire::Malformed;

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no connection, and none can be made.
    #[error("{0}")]
    Away(String),
    /// The connection broke before there was an answer.
    #[error("the connection broke before there was an answer")]
    Broken,
    /// There was no answer in time.
    #[error("no answer in time")]
    Late,
    /// What came cannot be read.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The broker said no.
    #[error("{0}")]
    Said(Code),
}

/// What a broker says in a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Code(pub i16);

macro_rules! codes {
    ($($NAME:ident = $code:literal;)*) => {
        impl Code {
            $(
                #[doc = concat!("`", stringify!($NAME), "`.")]
                pub const $NAME: Self = Self($code);
            )*

            /// Its name, where it has one here.
            pub fn name(self) -> &'static str {
                match self.0 {
                    $($code => stringify!($NAME),)*
                    _ => "an error",
                }
            }
        }
    };
}

codes! {
    NONE = 0;
    UNKNOWN_SERVER_ERROR = -1;
    OFFSET_OUT_OF_RANGE = 1;
    CORRUPT_MESSAGE = 2;
    UNKNOWN_TOPIC_OR_PARTITION = 3;
    LEADER_NOT_AVAILABLE = 5;
    NOT_LEADER_OR_FOLLOWER = 6;
    REQUEST_TIMED_OUT = 7;
    BROKER_NOT_AVAILABLE = 8;
    REPLICA_NOT_AVAILABLE = 9;
    MESSAGE_TOO_LARGE = 10;
    NETWORK_EXCEPTION = 13;
    COORDINATOR_LOAD_IN_PROGRESS = 14;
    COORDINATOR_NOT_AVAILABLE = 15;
    NOT_COORDINATOR = 16;
    INVALID_TOPIC_EXCEPTION = 17;
    RECORD_LIST_TOO_LARGE = 18;
    NOT_ENOUGH_REPLICAS = 19;
    NOT_ENOUGH_REPLICAS_AFTER_APPEND = 20;
    ILLEGAL_GENERATION = 22;
    INCONSISTENT_GROUP_PROTOCOL = 23;
    UNKNOWN_MEMBER_ID = 25;
    REBALANCE_IN_PROGRESS = 27;
    TOPIC_AUTHORIZATION_FAILED = 29;
    GROUP_AUTHORIZATION_FAILED = 30;
    CLUSTER_AUTHORIZATION_FAILED = 31;
    UNSUPPORTED_SASL_MECHANISM = 33;
    UNSUPPORTED_VERSION = 35;
    OUT_OF_ORDER_SEQUENCE_NUMBER = 45;
    DUPLICATE_SEQUENCE_NUMBER = 46;
    INVALID_PRODUCER_EPOCH = 47;
    INVALID_PRODUCER_ID_MAPPING = 49;
    KAFKA_STORAGE_ERROR = 56;
    SASL_AUTHENTICATION_FAILED = 58;
    UNKNOWN_PRODUCER_ID = 59;
    FENCED_LEADER_EPOCH = 74;
    UNKNOWN_LEADER_EPOCH = 75;
    MEMBER_ID_REQUIRED = 79;
    INVALID_RECORD = 87;
}

impl Code {
    /// Nothing, or what was said.
    pub(crate) fn ok(self) -> Result<(), Error> {
        if self == Self::NONE { Ok(()) } else { Err(Error::Said(self)) }
    }

    /// Whether another broker, or the same a little later, may take it.
    pub(crate) fn may_pass(self) -> bool {
        matches!(
            self,
            Self::CORRUPT_MESSAGE
                | Self::UNKNOWN_TOPIC_OR_PARTITION
                | Self::LEADER_NOT_AVAILABLE
                | Self::NOT_LEADER_OR_FOLLOWER
                | Self::REQUEST_TIMED_OUT
                | Self::BROKER_NOT_AVAILABLE
                | Self::REPLICA_NOT_AVAILABLE
                | Self::NETWORK_EXCEPTION
                | Self::COORDINATOR_LOAD_IN_PROGRESS
                | Self::COORDINATOR_NOT_AVAILABLE
                | Self::NOT_COORDINATOR
                | Self::NOT_ENOUGH_REPLICAS
                | Self::NOT_ENOUGH_REPLICAS_AFTER_APPEND
                | Self::KAFKA_STORAGE_ERROR
                | Self::FENCED_LEADER_EPOCH
                | Self::UNKNOWN_LEADER_EPOCH
        )
    }

    /// Whether the broker may have kept what it says this of.
    pub(crate) fn may_be_kept(self) -> bool {
        matches!(
            self,
            Self::REQUEST_TIMED_OUT
                | Self::NETWORK_EXCEPTION
                | Self::NOT_ENOUGH_REPLICAS_AFTER_APPEND
                | Self::UNKNOWN_SERVER_ERROR
        )
    }

    /// Whether the broker does not know this producer (any more), or where it was.
    pub(crate) fn is_of_identity(self) -> bool {
        matches!(
            self,
            Self::OUT_OF_ORDER_SEQUENCE_NUMBER
                | Self::INVALID_PRODUCER_EPOCH
                | Self::INVALID_PRODUCER_ID_MAPPING
                | Self::UNKNOWN_PRODUCER_ID
        )
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the broker says {} ({})", self.name(), self.0)
    }
}
