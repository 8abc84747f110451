//! Every refusal that a client can receive: a closed list.

/// A refusal. The texts that `api` gives them are part of the wire contract: clients compare them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The request does not have the expected shape; one line per fault, such as `body -> room: Field required`.
    Malformed(Vec<String>),
    /// Neither an API key nor a bearer token.
    AuthenticationRequired,
    /// The API key is not the administrator's.
    WrongAdminKey,
    /// A credential that is not the administrator's, on a route that only the administrator may use.
    NotTheAdministrator,
    /// The API key is not the administrator's, on the routes that make and change nodes.
    WrongNodesAdminKey,
    /// The bearer token on the route that mints tokens is expired or invalid.
    WrongJwt,
    /// The other routes distinguish the faults of a bearer token: it is missing …
    BearerMissing,
    /// … it is too old …
    BearerExpired,
    /// … it was not signed for this server.
    BearerInvalid,
    /// The API key is not this node's.
    WrongNodeKey,
    /// The user does not belong to the household.
    NotAMember,
    /// The provisioning token is unknown, expired, used, or another node's: one text for all, so that the answer reveals nothing.
    WrongProvisioningToken,
    /// There is such a node already.
    NodeAlreadyRegistered,
    /// There is no such node.
    NodeNotFound,
    /// The node asks for what is another node's; each route has its own text.
    AnotherNodes(&'static str),
    /// There is no settings key for the node under this id, or it was fetched already.
    NoKeyWaiting,
    /// The node could not store the settings key; its own text, if it has sent one.
    KeyNotStored(Option<String>),
    /// The node did not acknowledge the settings key in time.
    KeyNotAcknowledged,
    /// The node cannot be notified: there is no message broker, or it does not answer.
    NoBroker,
    /// There is no such settings request.
    RequestNotFound,
    /// The settings request was not answered in time.
    RequestExpired,
    /// The settings request has been answered.
    RequestFulfilled,
    /// There is no such configuration for the node.
    PushNotFound,
    /// A factory reset of the node is under way.
    ResetInFlight {
        /// Which one.
        task_id: String,
        /// How far it is.
        state: String,
    },
    /// The reset token is unknown, expired, used, or another node's. The two routes that take one use different statuses.
    WrongResetToken {
        /// Whether the route is the one of nodes that know no task.
        by_verification: bool,
    },
    /// The reset token is another task's.
    ResetNotFound,
    /// No state that a node may report of its reset.
    WrongResetState,
    /// The keys of the auth service cannot be read; a later retry may succeed.
    NoUserKeys,
    /// There is no such provision code.
    UnknownCode,
    /// Another device has claimed the code, or this one has and has used its key since.
    CodeClaimed,
    /// The operator has revoked the code. The two routes that claim use different texts.
    CodeRevoked {
        /// Whether the route is the partners'.
        by_partner_route: bool,
    },
    /// The code was not claimed in time.
    CodeExpired,
    /// Too many wrong codes, passwords or keys from this source, or too many for this account or in total.
    TooManyGuesses {
        /// When counting restarts.
        retry_after_seconds: u32,
    },
    /// No appliance of this name has this key.
    ApplianceNotFound,
    /// The bearer token is not an appliance's key, or another appliance's.
    WrongApplianceKey,
    /// The bearer token was the key of an appliance that has been released from its site.
    ApplianceReleased,
    /// There is an account of this name.
    UserExists,
    /// There is no account of this name.
    UserNotFound,
    /// There is no account with this name and password: one text for both.
    WrongLogin,
    /// The caller is known, and may not do this.
    Forbidden,
    /// Like [`Refusal::Malformed`], for clients that print `detail` unchanged.
    Unprocessable(String),
    /// `Host` is not a name of this server.
    WrongHost,
    /// There is no such route.
    NotFound,
    /// There is such a route, for another method.
    MethodNotAllowed,
    /// The body is larger than any that this server understands.
    TooLarge,
    /// The body did not arrive in time.
    TooSlow,
    /// The database cannot be reached or cannot write; a later retry may succeed.
    Unavailable,
    /// A fault of the server; the log has the cause.
    Internal,
}

impl Refusal {
    /// Whether the client used a key that is unknown, or not its own.
    pub(crate) const fn is_wrong_key(&self) -> bool {
        matches!(
            self,
            Self::WrongAdminKey
                | Self::WrongNodesAdminKey
                | Self::NotTheAdministrator
                | Self::WrongNodeKey
                | Self::WrongApplianceKey
                | Self::WrongResetToken { .. }
        )
    }
}
