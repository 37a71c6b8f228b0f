//! What may have been promised to clients.

/// A promise: see [`coalmine_core::linearize`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// One order of all calls, in real time.
    Linearizable,
    /// One order of all calls, in that of each client's own.
    Sequential,
    /// Whoever reads sees what had been acknowledged.
    NeverLost,
    /// Each client sees one copy that goes forward.
    Session,
    /// No client sees less than it has seen.
    MonotonicReads,
    /// Each client sees what it has written.
    ReadYourWrites,
}

impl Promise {
    const ALL: [Self; 6] = [
        Self::Linearizable,
        Self::Sequential,
        Self::NeverLost,
        Self::Session,
        Self::MonotonicReads,
        Self::ReadYourWrites,
    ];

    /// How it is called on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Linearizable => "linearizable",
            Self::Sequential => "sequential",
            Self::NeverLost => "acknowledged-is-never-lost",
            Self::Session => "session",
            Self::MonotonicReads => "monotonic-reads",
            Self::ReadYourWrites => "read-your-writes",
        }
    }

    /// The promise of this name.
    pub fn named(name: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|promise| promise.name() == name)
            .ok_or_else(|| format!("there is no promise {name:?}; there are: {}", NAMES.join(", ")))
    }
}

/// All names, the strongest first.
pub const NAMES: [&str; 6] = [
    Promise::ALL[0].name(),
    Promise::ALL[1].name(),
    Promise::ALL[2].name(),
    Promise::ALL[3].name(),
    Promise::ALL[4].name(),
    Promise::ALL[5].name(),
];
