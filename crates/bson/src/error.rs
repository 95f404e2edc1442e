//! The error table and the one error type.

use std::borrow::Cow;
use std::fmt;

use crate::doc::Doc;
use crate::owned::DocBuf;

pub type Result<T> = std::result::Result<T, Error>;

/// An error code of MongoDB: a number with a name, or a bare location whose name is `Location` and the number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Code(pub i32);

macro_rules! codes {
    ($($name:ident = $number:literal,)*) => {
        #[allow(non_upper_case_globals)]
        impl Code {
            $(pub const $name: Code = Code($number);)*

            /// The `codeName` of the reply.
            pub fn name(self) -> Cow<'static, str> {
                match self.0 {
                    $($number => Cow::Borrowed(stringify!($name)),)*
                    n => Cow::Owned(format!("Location{n}")),
                }
            }
        }
    };
}

codes! {
    InternalError = 1,
    BadValue = 2,
    NoSuchKey = 4,
    GraphContainsCycle = 5,
    HostUnreachable = 6,
    HostNotFound = 7,
    UnknownError = 8,
    FailedToParse = 9,
    CannotMutateObject = 10,
    UserNotFound = 11,
    UnsupportedFormat = 12,
    Unauthorized = 13,
    TypeMismatch = 14,
    Overflow = 15,
    InvalidLength = 16,
    ProtocolError = 17,
    AuthenticationFailed = 18,
    CannotReuseObject = 19,
    IllegalOperation = 20,
    EmptyArrayOperation = 21,
    InvalidBSON = 22,
    AlreadyInitialized = 23,
    LockTimeout = 24,
    NamespaceNotFound = 26,
    IndexNotFound = 27,
    PathNotViable = 28,
    NonExistentPath = 29,
    InvalidPath = 30,
    RoleNotFound = 31,
    RolesNotRelated = 32,
    PrivilegeNotFound = 33,
    CannotBackfillArray = 34,
    FileNotOpen = 38,
    FileStreamFailed = 39,
    ConflictingUpdateOperators = 40,
    FileAlreadyOpen = 41,
    LogWriteFailed = 42,
    CursorNotFound = 43,
    UserDataInconsistent = 45,
    LockBusy = 46,
    NoMatchingDocument = 47,
    NamespaceExists = 48,
    InvalidRoleModification = 49,
    MaxTimeMSExpired = 50,
    ManualInterventionRequired = 51,
    DollarPrefixedFieldName = 52,
    InvalidIdField = 53,
    NotSingleValueField = 54,
    InvalidDBRef = 55,
    EmptyFieldName = 56,
    DottedFieldName = 57,
    RoleModificationFailed = 58,
    CommandNotFound = 59,
    ShardKeyNotFound = 61,
    OplogOperationUnsupported = 62,
    WriteConcernFailed = 64,
    MultipleErrorsOccurred = 65,
    ImmutableField = 66,
    CannotCreateIndex = 67,
    IndexAlreadyExists = 68,
    AuthSchemaIncompatible = 69,
    InvalidOptions = 72,
    InvalidNamespace = 73,
    NodeNotFound = 74,
    WriteConcernLegacyOK = 75,
    NoReplicationEnabled = 76,
    UnknownReplWriteConcern = 79,
    IndexOptionsConflict = 85,
    IndexKeySpecsConflict = 86,
    NetworkTimeout = 89,
    CallbackCanceled = 90,
    ShutdownInProgress = 91,
    SecondaryAheadOfPrimary = 92,
    InvalidReplicaSetConfig = 93,
    NotYetInitialized = 94,
    NotSecondary = 95,
    OperationFailed = 96,
    NoProgressMade = 97,
    UnsatisfiableWriteConcern = 100,
    OutdatedClient = 101,
    NewReplicaSetConfigurationIncompatible = 103,
    NodeNotElectable = 104,
    NotExactValueField = 111,
    WriteConflict = 112,
    ConflictingOperationInProgress = 117,
    NamespaceNotSharded = 118,
    DocumentValidationFailure = 121,
    NotAReplicaSet = 123,
    IncompatibleElectionProtocol = 124,
    CommandFailed = 125,
    CappedPositionLost = 136,
    JSInterpreterFailure = 139,
    InvalidSSLConfiguration = 140,
    ExceededMemoryLimit = 146,
    ReadConcernMajorityNotEnabled = 148,
    ViewDepthLimitExceeded = 165,
    CommandNotSupportedOnView = 166,
    OptionNotSupportedOnView = 167,
    InvalidPipelineOperator = 168,
    CommandOnShardedViewNotSupportedOnMongod = 169,
    TooManyMatchingDocuments = 170,
    CannotIndexParallelArrays = 171,
    TransportSessionClosed = 172,
    TransportSessionNotFound = 173,
    TransportSessionUnknown = 174,
    QueryPlanKilled = 175,
    FileOpenFailed = 176,
    InvalidViewDefinition = 182,
    ClientMetadataMissingField = 183,
    ClientMetadataAppNameTooLarge = 184,
    ClientMetadataDocumentTooLarge = 185,
    ClientMetadataCannotBeMutated = 186,
    LinearizableReadConcernError = 187,
    IncompatibleServerVersion = 188,
    PrimarySteppedDown = 189,
    MasterSlaveConnectionFailure = 190,
    ViewPipelineMaxSizeExceeded = 195,
    InvalidIndexSpecificationOption = 197,
    CannotBuildIndexKeys = 201,
    NoSuchSession = 206,
    InvalidUUID = 207,
    TooManyLocks = 208,
    StaleClusterTime = 209,
    DatabaseDropPending = 215,
    IncompleteTransactionHistory = 217,
    UpdateOperationFailed = 218,
    QueryFeatureNotAllowed = 224,
    TransactionTooOld = 225,
    AtomicityFailure = 226,
    CursorInUse = 231,
    MaxSubPipelineDepthExceeded = 232,
    RetryChangeStream = 234,
    CursorKilled = 237,
    NotImplemented = 238,
    SnapshotTooOld = 239,
    ConversionFailure = 241,
    StaleChunkHistory = 243,
    SnapshotUnavailable = 246,
    NoSuchTransaction = 251,
    TransactionCommitted = 256,
    TransactionTooLarge = 257,
    InvalidResumeToken = 260,
    TooManyLogicalSessions = 261,
    ExceededTimeLimit = 262,
    OperationNotSupportedInTransaction = 263,
    TooManyFilesOpen = 264,
    IndexBuildAborted = 276,
    ClientDisconnect = 279,
    ChangeStreamFatalError = 280,
    ChangeStreamHistoryLost = 286,
    IndexBuildAlreadyInProgress = 287,
    TransactionExceededLifetimeLimitSeconds = 290,
    QueryExceededMemoryLimitNoDiskUseAllowed = 292,
    TooManyDocumentSequences = 305,
    TransactionTooLargeForCache = 313,
    ObjectIsBusy = 314,
    APIVersionError = 322,
    APIStrictError = 323,
    APIDeprecationError = 324,
    APIMismatchError = 325,
    MechanismUnavailable = 334,
    AuthenticationAbandoned = 337,
    UnsupportedOpQueryCommand = 352,
    CannotConvertIndexToUnique = 359,
    CollectionUUIDMismatch = 361,
    UserWritesBlocked = 371,
    NonConformantBSON = 375,
    CannotInsertTimeseriesBucketsWithMixedSchema = 408,
    QueryRejectedBySettings = 411,
    CannotGrowDocumentInCappedNamespace = 10003,
    NotWritablePrimary = 10107,
    BSONObjectTooLarge = 10334,
    DuplicateKey = 11000,
    InterruptedAtShutdown = 11600,
    Interrupted = 11601,
    InterruptedDueToReplStateChange = 11602,
    BackgroundOperationInProgressForDatabase = 12586,
    BackgroundOperationInProgressForNamespace = 12587,
    DatabaseDifferCase = 13297,
    StaleConfig = 13388,
    NotPrimaryNoSecondaryOk = 13435,
    OutOfDiskSpace = 14031,
    AmbiguousIndexKeyPattern = 181,
    FailPointSetFailed = 145,
    NoQueryExecutionPlans = 291,
    IDLFailedToParse = 40414,
    IDLUnknownField = 40415,
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({})", self.name(), self.0)
    }
}

/// What a command answers when it fails: a code, a message for people, labels for drivers, and fields that some codes carry.
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    code: Code,
    message: String,
    labels: Vec<Cow<'static, str>>,
    /// The labels are exactly these: nobody adds any.
    sealed: bool,
    info: Option<DocBuf>,
}

impl Error {
    pub fn new(code: Code, message: impl Into<String>) -> Error {
        Error(Box::new(Inner { code, message: message.into(), labels: Vec::new(), sealed: false, info: None }))
    }

    pub fn code(&self) -> Code {
        self.0.code
    }

    pub fn message(&self) -> &str {
        &self.0.message
    }

    pub fn labels(&self) -> &[Cow<'static, str>] {
        &self.0.labels
    }

    /// Adds a label such as `TransientTransactionError`, once.
    pub fn with_label(mut self, label: &'static str) -> Error {
        if !self.0.sealed && !self.0.labels.iter().any(|l| l == label) {
            self.0.labels.push(Cow::Borrowed(label));
        }
        self
    }

    /// Sets the labels; none are added later. For fail points.
    pub fn with_exact_labels(mut self, labels: Vec<String>) -> Error {
        self.0.labels = labels.into_iter().map(Cow::Owned).collect();
        self.0.sealed = true;
        self
    }

    /// Fields the reply carries beside code and message: `keyPattern` and `keyValue` of DuplicateKey, `errInfo` of
    /// DocumentValidationFailure. They are appended to the error reply or write error as they stand.
    pub fn with_info(mut self, info: DocBuf) -> Error {
        self.0.info = Some(info);
        self
    }

    pub fn info(&self) -> Option<Doc<'_>> {
        self.0.info.as_ref().map(DocBuf::as_doc)
    }

    /// The same error with words in front of its message: `context :: caused by :: message`.
    pub fn context(mut self, words: impl fmt::Display) -> Error {
        self.0.message = format!("{words} :: caused by :: {}", self.0.message);
        self
    }

    /// The same error with another message.
    pub fn with_message(mut self, message: impl Into<String>) -> Error {
        self.0.message = message.into();
        self
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.code(), self.message())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

impl std::error::Error for Error {}

/// Makes an [`Error`]: `err!(BadValue, "unknown operator: {name}")` or `err!(15983, "…")` for a bare location.
#[macro_export]
macro_rules! err {
    ($code:ident, $($arg:tt)+) => { $crate::Error::new($crate::Code::$code, format!($($arg)+)) };
    ($code:literal, $($arg:tt)+) => { $crate::Error::new($crate::Code($code), format!($($arg)+)) };
}

/// Returns an [`err!`] from the function.
#[macro_export]
macro_rules! bail {
    ($($arg:tt)+) => { return Err($crate::err!($($arg)+)) };
}
