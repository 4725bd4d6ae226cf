//! The command line: every verb, option and word of help.
//!
//! long because it is one list, and whoever looks for a verb or its words looks here.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use gridbeat_base::{DeviceId, DocumentId, Position, Scope, Verbs};
use gridbeat_relay::Fingerprint;
use jiff::civil::Date;

use crate::output::EXIT_CODES;

/// Offline-first sync for city patrols: a relay, devices, and the demo that shows both.
#[derive(Debug, Parser)]
#[command(name = "gridbeat", version, after_help = EXIT_CODES, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// What to log on standard error: a level, or targets with levels (`info,gridbeat_relay=debug`).
    #[arg(long, global = true, value_name = "FILTER")]
    pub(crate) log: Option<String>,
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run a relay, or make one.
    Relay(RelayArgs),
    /// Run a device or do one thing with its file, here; or see to the devices of a relay, as its operator.
    Device(Box<DeviceArgs>),
    /// Say what devices may do at a relay, and where.
    Grant(GrantArgs),
    /// Ask a device in, see who came, let it in.
    Enrol(EnrolmentArgs),
    /// Play a day of patrol over bad links, kill what can be killed, and compare every copy.
    Demo(Box<DemoArgs>),
    /// Run seeded storms over the real cores and real files and check every promise.
    Sim(SimArgs),
    /// Measure the figures the engine is held to, on this machine.
    Bench(crate::bench::Args),
    /// Look into what a relay refused, and discard what was seen to.
    Quarantine(QuarantineArgs),
    /// Check the photos and files that devices brought, and clear away what no record refers to.
    Blob(BlobArgs),
    /// Verify who pushed what, and that nothing was changed since, on a copy of a relay's database.
    Audit(AuditArgs),
    /// Read a city's file of requests: count, account for what cannot be read, save as reports.
    Import(ImportArgs),
    /// Print the version, and those of the protocol and of the database.
    Version(VersionArgs),
}

/// `gridbeat relay`.
#[derive(Debug, Args)]
pub(crate) struct RelayArgs {
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: RelayVerb,
}

/// Where a relay's configuration is.
#[derive(Clone, Debug, Args)]
pub(crate) struct RelayPlace {
    /// The relay's configuration.
    #[arg(long, value_name = "FILE", default_value = "relay.toml")]
    pub(crate) config: PathBuf,
}

/// `gridbeat blob`.
#[derive(Debug, Args)]
pub(crate) struct BlobArgs {
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: BlobVerb,
}

/// What to do with the blobs of a relay.
#[derive(Debug, Subcommand)]
pub(crate) enum BlobVerb {
    /// Read every blob and compare it with its name, and look what refers to what. While the relay runs, too.
    Fsck {
        /// Where the relay is.
        #[command(flatten)]
        place: RelayPlace,
        /// In which form to answer.
        #[arg(short, long, value_enum, default_value_t = Form::Text)]
        output: Form,
    },
    /// Clear away what no record refers to, and uploads that stand still. Without --yes it only says what that is.
    Gc {
        /// Who, and why.
        #[command(flatten)]
        hand: Hand,
        /// Only what has not moved for so many days: devices that are away go on with theirs.
        #[arg(long, value_name = "N", default_value_t = 30)]
        days: u32,
        /// Do it.
        #[arg(long)]
        yes: bool,
        /// In which form to answer.
        #[arg(short, long, value_enum, default_value_t = Form::Text)]
        output: Form,
    },
}

/// What to do with a relay.
#[derive(Debug, Subcommand)]
pub(crate) enum RelayVerb {
    /// Copy the database into a file, while the relay runs. Devices then need not keep what is in it.
    Backup {
        /// Who, and why.
        #[command(flatten)]
        hand: Hand,
        /// The file; it must not be there.
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
        /// In which form to answer.
        #[arg(short, long, value_enum, default_value_t = Form::Text)]
        output: Form,
    },
    /// Say that everything received up to a time is on a standby, so that devices need not keep it.
    Stable {
        /// Who, and why.
        #[command(flatten)]
        hand: Hand,
        /// The time: 2026-11-25T08:00:00Z.
        #[arg(long, value_name = "TIME")]
        as_of: String,
    },
    /// Put a backup in the place of the database of a relay that does not run. What is there is moved aside.
    Restore {
        /// Who, and why.
        #[command(flatten)]
        hand: Hand,
        /// The backup.
        #[arg(long, value_name = "FILE")]
        from: PathBuf,
        /// Do it.
        #[arg(long)]
        yes: bool,
    },
    /// Say what devices brought back since the database was restored, and who has not called.
    Recovered {
        /// Where the relay is.
        #[command(flatten)]
        place: RelayPlace,
        /// In which form to answer.
        #[arg(short, long, value_enum, default_value_t = Form::Text)]
        output: Form,
    },
    /// Serve until SIGTERM, then drain and end.
    Run {
        /// Where it is.
        #[command(flatten)]
        place: RelayPlace,
        /// Say as a line of JSON when it listens, and where.
        #[arg(long)]
        json: bool,
    },
    /// Make a relay: its configuration, its authority, its certificate, an empty database.
    Init {
        /// Where it is to be.
        #[command(flatten)]
        place: RelayPlace,
        /// The UDP address to listen on.
        #[arg(long, value_name = "ADDRESS", default_value = "[::]:4747")]
        listen: SocketAddr,
        /// The TCP address of health and metrics; on the loopback.
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:4748")]
        admin: SocketAddr,
    },
    /// Make another issuing certificate, before the present one ends. Restart the relay behind it.
    RenewIssuer {
        /// Who, and why.
        #[command(flatten)]
        hand: Hand,
        /// The folder of the root [default: where relay init made it].
        #[arg(long, value_name = "FOLDER")]
        root: Option<PathBuf>,
    },
    /// Make the root that comes after the present one, so that devices know it long before. Restart the relay behind it.
    PrepareRoot {
        /// Who, and why.
        #[command(flatten)]
        hand: Hand,
        /// The folder of the root [default: where relay init made it].
        #[arg(long, value_name = "FOLDER")]
        root: Option<PathBuf>,
    },
    /// Put the prepared root in the place of the present one. Devices that were not told of it are locked out.
    PromoteRoot {
        /// Who, and why.
        #[command(flatten)]
        hand: Hand,
        /// The folder of the root [default: where relay init made it].
        #[arg(long, value_name = "FOLDER")]
        root: Option<PathBuf>,
        /// Do it.
        #[arg(long)]
        yes: bool,
    },
}

/// Who acts at a relay, and why: both go into the operators' log.
#[derive(Clone, Debug, Args)]
pub(crate) struct Hand {
    /// Where the relay is.
    #[command(flatten)]
    pub(crate) place: RelayPlace,
    /// Who does it [default: who is logged in].
    #[arg(long = "as", value_name = "NAME")]
    pub(crate) who: Option<String>,
    /// Why.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) why: String,
}

/// What an operator does with the devices of a relay.
#[derive(Debug, Subcommand)]
pub(crate) enum OfficeVerb {
    /// List the relay's devices: what each may do, when it was last heard, how far behind it is.
    List {
        /// Where the relay is.
        #[command(flatten)]
        place: RelayPlace,
        /// In which form to answer.
        #[arg(short, long, value_enum, default_value_t = Form::Text)]
        output: Form,
    },
    /// Show one of the relay's devices whole.
    Show {
        /// Where the relay is.
        #[command(flatten)]
        place: RelayPlace,
        /// The device.
        device: DeviceId,
        /// In which form to answer.
        #[arg(short, long, value_enum, default_value_t = Form::Text)]
        output: Form,
    },
    /// Let in the device that waits by an invitation: the same as `gridbeat enrol approve`.
    Approve(ApproveArgs),
    /// Take all rights from a device. Its open session ends within seconds; it hands over what it has, and wipes itself.
    Revoke {
        /// Who, and why.
        #[command(flatten)]
        hand: Hand,
        /// The device.
        device: DeviceId,
        /// Do it.
        #[arg(long)]
        yes: bool,
    },
    /// Order a device to hand over what it has and to wipe itself, when it next calls: as revoke, which may have been
    /// before; the order is put on record.
    Wipe {
        /// Who, and why.
        #[command(flatten)]
        hand: Hand,
        /// The device.
        device: DeviceId,
        /// Do it.
        #[arg(long)]
        yes: bool,
    },
    /// Give a device another name.
    Rename {
        /// Who, and why.
        #[command(flatten)]
        hand: Hand,
        /// The device.
        device: DeviceId,
        /// Its name from now on.
        name: String,
    },
    /// Move a device from one scope to another, with the role it has.
    Move {
        /// Who, and why.
        #[command(flatten)]
        hand: Hand,
        /// The device.
        device: DeviceId,
        /// The scope it leaves.
        #[arg(long, value_name = "SCOPE")]
        from: Scope,
        /// The scope it comes to.
        #[arg(long, value_name = "SCOPE")]
        to: Scope,
        /// Do it.
        #[arg(long)]
        yes: bool,
    },
}

/// `gridbeat grant`.
#[derive(Debug, Args)]
pub(crate) struct GrantArgs {
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: GrantVerb,
}

/// What to do with grants.
#[derive(Debug, Subcommand)]
pub(crate) enum GrantVerb {
    /// Grant a device a role in a scope, in place of what it had there.
    Add {
        /// Who, and why.
        #[command(flatten)]
        hand: Hand,
        /// The device.
        device: DeviceId,
        /// The scope.
        #[arg(long, value_name = "SCOPE")]
        scope: Scope,
        /// The role: see `gridbeat grant roles`.
        #[arg(long, value_name = "ROLE")]
        role: Option<String>,
        /// What it may do, if not what the role says: read,report,edit,check,dispatch,close,administer.
        #[arg(long, value_name = "VERBS")]
        verbs: Option<Verbs>,
    },
    /// Take from a device what it has in a scope.
    Remove {
        /// Who, and why.
        #[command(flatten)]
        hand: Hand,
        /// The device.
        device: DeviceId,
        /// The scope.
        #[arg(long, value_name = "SCOPE")]
        scope: Scope,
        /// Do it.
        #[arg(long)]
        yes: bool,
    },
    /// List what is granted.
    List {
        /// Where the relay is.
        #[command(flatten)]
        place: RelayPlace,
        /// Only to this device.
        #[arg(long, value_name = "DEVICE")]
        device: Option<DeviceId>,
        /// Only in this scope.
        #[arg(long, value_name = "SCOPE")]
        scope: Option<Scope>,
        /// In which form to answer.
        #[arg(short, long, value_enum, default_value_t = Form::Text)]
        output: Form,
    },
    /// List the roles there are, and what each may do.
    Roles {
        /// In which form to answer.
        #[arg(short, long, value_enum, default_value_t = Form::Text)]
        output: Form,
    },
}

/// `gridbeat enrol`.
#[derive(Debug, Args)]
pub(crate) struct EnrolmentArgs {
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: EnrolmentVerb,
}

/// What to do about devices that are to be enrolled.
#[derive(Debug, Subcommand)]
pub(crate) enum EnrolmentVerb {
    /// Ask a device in: show an invitation that is good once, for a quarter of an hour.
    Create(CreateArgs),
    /// List invitations, the latest first: who came by them, with which fingerprint.
    List {
        /// Where the relay is.
        #[command(flatten)]
        place: RelayPlace,
        /// In which form to answer.
        #[arg(short, long, value_enum, default_value_t = Form::Text)]
        output: Form,
    },
    /// Let in the device that waits by an invitation.
    Approve(ApproveArgs),
    /// Take an invitation back, or refuse the device that waits by it.
    Cancel {
        /// Who, and why.
        #[command(flatten)]
        hand: Hand,
        /// The invitation's number.
        id: u64,
    },
}

/// Whom to let in.
#[derive(Debug, Args)]
pub(crate) struct ApproveArgs {
    /// Who, and why.
    #[command(flatten)]
    pub(crate) hand: Hand,
    /// The invitation's number.
    pub(crate) id: u64,
    /// The six digits that the device shows; another's are refused.
    #[arg(long, value_name = "DIGITS")]
    pub(crate) fingerprint: Option<Fingerprint>,
}

/// Whom to ask in.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// Who, and why.
    #[command(flatten)]
    pub(crate) hand: Hand,
    /// A scope it will be granted; may be repeated.
    #[arg(long, value_name = "SCOPE", required = true)]
    pub(crate) scope: Vec<Scope>,
    /// The role it will have there: see `gridbeat grant roles`.
    #[arg(long, value_name = "ROLE")]
    pub(crate) role: Option<String>,
    /// What it may do there, if not what the role says: read,report,edit,check,dispatch,close,administer.
    #[arg(long, value_name = "VERBS")]
    pub(crate) verbs: Option<Verbs>,
    /// What people will call the device.
    #[arg(long, value_name = "NAME")]
    pub(crate) name: String,
    /// The relay's address as the device reaches it: host:port.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) relay: String,
    /// Let the first in who shows the invitation, without a look at its fingerprint.
    #[arg(long)]
    pub(crate) auto_approve: bool,
    /// Write the QR code as PNG.
    #[arg(long, value_name = "FILE")]
    pub(crate) png: Option<PathBuf>,
    /// Write the QR code as SVG.
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
    /// In which form to answer.
    #[arg(short, long, value_enum, default_value_t = Form::Text)]
    pub(crate) output: Form,
}

/// `gridbeat device`.
#[derive(Debug, Args)]
pub(crate) struct DeviceArgs {
    /// The device's folder.
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    pub(crate) dir: PathBuf,
    /// The bundle that reaches the relay [default: bundle.json in the folder].
    #[arg(long, value_name = "FILE")]
    pub(crate) bundle: Option<PathBuf>,
    /// The key of the device's file, made with it [default: device.key in the folder].
    #[arg(long, value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
    /// Run, and speak JSON lines: requests on standard input, answers and events on standard output.
    #[arg(long)]
    pub(crate) stdio: bool,
    /// One thing to do.
    #[command(subcommand)]
    pub(crate) verb: Option<AnyDeviceVerb>,
}

/// One thing to do: with a device that is here, or with one of a relay's.
#[derive(Debug, Subcommand)]
pub(crate) enum AnyDeviceVerb {
    /// Here.
    #[command(flatten)]
    Here(DeviceVerb),
    /// At the relay of which somebody is the operator.
    #[command(flatten)]
    Office(OfficeVerb),
}

/// One thing to do with a device's file.
#[derive(Debug, Subcommand)]
pub(crate) enum DeviceVerb {
    /// Become known at a relay, by an invitation of its operator.
    Enrol(EnrolArgs),
    /// Save a report. It is durable when this returns, and sent at the next `sync`.
    Report(ReportArgs),
    /// List the records in a device's file.
    Records(ListArgs),
    /// Show one record of a device's file whole.
    Record {
        /// The document.
        document: DocumentId,
        /// On one line, for a program.
        #[arg(long)]
        json: bool,
    },
    /// Say what waits, and what each scope holds.
    Status {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// See to what the relay did not accept.
    NotAccepted {
        /// What to do.
        #[command(subcommand)]
        verb: NotAcceptedVerb,
    },
    /// Make an encrypted file of a plain one, in its place.
    Encrypt,
    /// Meet the relay and come in sync.
    Sync {
        /// How long to try.
        #[arg(long, value_name = "SECONDS", default_value_t = 30)]
        seconds: u64,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

/// What to do with what a relay did not accept.
#[derive(Debug, Subcommand)]
pub(crate) enum NotAcceptedVerb {
    /// List it: what was wanted, and why it was not accepted, in both languages.
    List {
        /// Also what was dropped or corrected since.
        #[arg(long)]
        all: bool,
        /// In which form to answer.
        #[arg(short, long, value_enum, default_value_t = Form::Text)]
        output: Form,
    },
    /// Save a corrected intent in its place.
    Edit {
        /// Its number.
        number: i64,
        /// The whole intent, as `list -o json` shows the old one.
        #[arg(long, value_name = "JSON")]
        intent: String,
    },
    /// Drop it. It stays in the history.
    Drop {
        /// Its number.
        number: i64,
        /// Do it.
        #[arg(long)]
        yes: bool,
    },
    /// Write it into a file of JSON that people can read.
    Export {
        /// The file; it must not be there.
        file: PathBuf,
        /// Also what was dropped or corrected since.
        #[arg(long)]
        all: bool,
    },
}

/// How to become known at a relay.
#[derive(Debug, Args)]
pub(crate) struct EnrolArgs {
    /// The invitation: gridbeat:… as the operator shows it.
    #[arg(value_name = "INVITATION")]
    pub(crate) invitation: String,
    /// What the operator sees of this device: its model, or where it is.
    #[arg(long, value_name = "NAME", default_value = "gridbeat device")]
    pub(crate) name: String,
    /// How long to wait for the operator.
    #[arg(long, value_name = "SECONDS", default_value_t = 900)]
    pub(crate) seconds: u64,
    /// As lines of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// A report to be saved.
#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// What is wrong: matter/06010, part/01001 …
    #[arg(long, value_name = "KIND/CODE")]
    pub(crate) category: String,
    /// What was seen.
    #[arg(long, value_name = "TEXT")]
    pub(crate) description: String,
    /// Where, in words.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) address: String,
    /// Where: latitude,longitude in degrees (WGS 84).
    #[arg(long, value_name = "LAT,LON", value_parser = position, allow_hyphen_values = true)]
    pub(crate) at: Option<Position>,
    /// Who reports.
    #[arg(long, value_name = "NAME")]
    pub(crate) by: String,
    /// The scope, if the device has several.
    #[arg(long, value_name = "SCOPE")]
    pub(crate) scope: Option<Scope>,
    /// As JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What to list.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Only this kind: incident, patrol.
    #[arg(long)]
    pub(crate) kind: Option<String>,
    /// Only what is still open.
    #[arg(long)]
    pub(crate) open: bool,
    /// Only this state.
    #[arg(long)]
    pub(crate) status: Option<String>,
    /// Only this scope.
    #[arg(long)]
    pub(crate) scope: Option<Scope>,
    /// Only with these words.
    #[arg(long)]
    pub(crate) text: Option<String>,
    /// The nearest to this place first: latitude,longitude.
    #[arg(long, value_name = "LAT,LON", value_parser = position, allow_hyphen_values = true)]
    pub(crate) near: Option<Position>,
    /// Only so many metres from there.
    #[arg(long, value_name = "METRES", requires = "near")]
    pub(crate) within_m: Option<f64>,
    /// Only what a person should settle.
    #[arg(long)]
    pub(crate) needs_attention: bool,
    /// At most so many.
    #[arg(long, default_value_t = 50)]
    pub(crate) limit: usize,
    /// As JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `gridbeat demo`.
#[derive(Debug, Args)]
#[command(
    after_help = "Without files it makes a shift of its own, in Zhenhai's seven townships. \
What is missing is made up, and the report says so."
)]
pub(crate) struct DemoArgs {
    /// Requests: CSV, plain or gzip.
    #[arg(long, value_name = "FILE")]
    pub(crate) incidents: Option<PathBuf>,
    /// Which local day of them [default: the busiest].
    #[arg(long, value_name = "YYYY-MM-DD")]
    pub(crate) day: Option<Date>,
    /// How to read the requests: TOML [default: as Boston's].
    #[arg(long, value_name = "FILE")]
    pub(crate) map: Option<PathBuf>,
    /// Areas: `GeoJSON`, plain or gzip.
    #[arg(long, value_name = "FILE")]
    pub(crate) areas: Option<PathBuf>,
    /// Tracks: CSV with trip, time, lon, lat; plain or gzip.
    #[arg(long, value_name = "FILE")]
    pub(crate) tracks: Option<PathBuf>,
    /// Link logs: a SABRE JSON, a folder or a tar of them.
    #[arg(long, value_name = "PATH")]
    pub(crate) links: Option<PathBuf>,
    /// Decides everything that is drawn.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// How many officers; the centre is one device more.
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = officers)]
    pub(crate) officers: usize,
    /// How long the shift is played.
    #[arg(long, value_name = "SECONDS", default_value = "50", value_parser = seconds)]
    pub(crate) seconds: Duration,
    /// Play at most so many of the day's requests, evenly spread.
    #[arg(long, value_name = "N")]
    pub(crate) incidents_max: Option<usize>,
    /// Write the figures as JSON; `-` for standard output.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write the report: one page of HTML.
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
    /// Keep all files and logs here.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) keep: Option<PathBuf>,
    /// Show no progress and no table.
    #[arg(long)]
    pub(crate) quiet: bool,
}

/// `gridbeat sim`.
#[derive(Clone, Debug, Args)]
pub(crate) struct SimArgs {
    /// How many seeds.
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) seeds: u64,
    /// The first seed.
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    pub(crate) first: u64,
    /// How many at a time [default: one a core].
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,
    /// Run every seed twice, to see that it goes the same way; otherwise one in ten is.
    #[arg(long)]
    pub(crate) twice: bool,
    /// The figures as one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Print every line of the trace: for one seed.
    #[arg(long)]
    pub(crate) trace: bool,
    /// Play the first seed's script without other faults, three times for every commit in it: whoever makes it
    /// dies by it, and nothing of it is on the disk, all of it, or a part.
    #[arg(long, conflicts_with_all = ["seeds", "trace"])]
    pub(crate) exhaustive: bool,
}

/// `gridbeat quarantine`.
#[derive(Debug, Args)]
pub(crate) struct QuarantineArgs {
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: QuarantineVerb,
}

/// What to do with what a relay refused. The relay may be running.
#[derive(Debug, Subcommand)]
pub(crate) enum QuarantineVerb {
    /// List what was refused, the latest first.
    List {
        /// Where the relay is.
        #[command(flatten)]
        place: RelayPlace,
        /// Only what this device brought.
        #[arg(long)]
        device: Option<DeviceId>,
        /// Only what was for this document.
        #[arg(long)]
        document: Option<DocumentId>,
        /// Only what broke this rule: its code.
        #[arg(long, value_name = "CODE")]
        rule: Option<String>,
        /// Also what was discarded.
        #[arg(long)]
        all: bool,
        /// Only those before this number: the last of the page before.
        #[arg(long, value_name = "NUMBER")]
        before: Option<i64>,
        /// At most so many.
        #[arg(long, default_value_t = 50)]
        limit: u64,
        /// In which form to answer.
        #[arg(short, long, value_enum, default_value_t = Form::Text)]
        output: Form,
    },
    /// Show one: the rule in words, and what the change says of itself. It is not opened.
    Show {
        /// Where the relay is.
        #[command(flatten)]
        place: RelayPlace,
        /// Its number.
        number: i64,
        /// In which form to answer.
        #[arg(short, long, value_enum, default_value_t = Form::Text)]
        output: Form,
    },
    /// Discard its bytes for good. What it was, who discarded it and why stay on record.
    Discard {
        /// Where the relay is.
        #[command(flatten)]
        place: RelayPlace,
        /// Their numbers.
        #[arg(required = true)]
        numbers: Vec<i64>,
        /// Why.
        #[arg(long, value_name = "WORDS")]
        why: String,
        /// By whom [default: who is logged in].
        #[arg(long = "as", alias = "by", value_name = "NAME")]
        by: Option<String>,
        /// Do it.
        #[arg(long)]
        yes: bool,
    },
}

/// `gridbeat audit`.
#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: AuditVerb,
}

/// Which database to read. It is never written to.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct AuditPlace {
    /// The folder of a relay's files.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) data: Option<PathBuf>,
    /// A relay's database: a copy, best.
    #[arg(long, value_name = "FILE")]
    pub(crate) db: Option<PathBuf>,
}

/// What to do with a relay's evidence.
#[derive(Debug, Subcommand)]
pub(crate) enum AuditVerb {
    /// Verify every signature, every chain and every row; name what is not as it was written.
    #[command(
        after_help = "Exit codes: 0 everything is as it was written; 1 something is not, and is \
named; 3 the file is no relay's database, or has no receipts."
    )]
    Verify {
        /// Where the database is.
        #[command(flatten)]
        place: AuditPlace,
        /// The key that receipts must be signed by, as noted elsewhere before.
        #[arg(long, value_name = "HEX")]
        key: Option<String>,
        /// In which form to answer.
        #[arg(short, long, value_enum, default_value_t = Form::Text)]
        output: Form,
    },
    /// Tell who did what to one record, when by which clock, and whom it reached.
    #[command(
        after_help = "Exit codes: 0 told; 1 told, but the evidence is not as it was written; 3 the \
file is no relay's database, or knows no such record."
    )]
    Trace {
        /// The record: an incident's or a patrol's id.
        #[arg(value_name = "RECORD")]
        record: DocumentId,
        /// Where the database is.
        #[command(flatten)]
        place: AuditPlace,
        /// In which language to say what was done.
        #[arg(long, value_enum, default_value_t = Language::En)]
        lang: Language,
        /// In which form to answer.
        #[arg(short, long, value_enum, default_value_t = Form::Text)]
        output: Form,
    },
    /// Print what operators did: when, who, what, and why.
    Log {
        /// Where the database is.
        #[command(flatten)]
        place: AuditPlace,
        /// In which form to answer.
        #[arg(short, long, value_enum, default_value_t = Form::Text)]
        output: Form,
    },
}

/// A language of the product.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Language {
    /// English.
    En,
    /// Chinese.
    Zh,
}

/// In which form to answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Form {
    /// Lines for people.
    Text,
    /// One line of JSON.
    Json,
}

/// `gridbeat import`.
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// Requests: CSV, plain or gzip.
    #[arg(long, value_name = "FILE")]
    pub(crate) incidents: PathBuf,
    /// How to read them: TOML [default: as Boston's].
    #[arg(long, value_name = "FILE")]
    pub(crate) map: Option<PathBuf>,
    /// Only this local day.
    #[arg(long, value_name = "YYYY-MM-DD")]
    pub(crate) day: Option<Date>,
    /// Save them as reports into the device of this folder; its relay need not be there.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) into: Option<PathBuf>,
    /// The scope they go to, if the device has several.
    #[arg(long, value_name = "SCOPE", requires = "into")]
    pub(crate) scope: Option<Scope>,
    /// Who reports them.
    #[arg(long, value_name = "NAME", default_value = "import")]
    pub(crate) by: String,
    /// As JSON, with every line number.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `gridbeat version`.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct VersionArgs {
    /// As JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

fn position(text: &str) -> Result<Position, String> {
    let (latitude, longitude) = text.split_once(',').ok_or("write latitude,longitude")?;
    let degrees = |text: &str| {
        text.trim()
            .parse::<f64>()
            .map_err(|error| error.to_string())
    };
    Position::from_degrees(degrees(latitude)?, degrees(longitude)?)
        .map_err(|error| error.to_string())
}

fn officers(text: &str) -> Result<usize, String> {
    let count: usize = text.parse().map_err(|_| "not a number".to_owned())?;
    // Beyond, one machine shows its own limits and not the engine's.
    if (2..=64).contains(&count) {
        Ok(count)
    } else {
        Err("2 to 64 officers".to_owned())
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: u64 = text.parse().map_err(|_| "not a whole number".to_owned())?;
    if (10..=3_600).contains(&seconds) {
        Ok(Duration::from_secs(seconds))
    } else {
        Err("10 to 3600 seconds".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn places_and_spans_are_checked_where_they_are_written() {
        assert!(position("29.95,121.71").is_ok());
        assert!(position("-33.9, 151.2").is_ok());
        for bad in ["", "1", "91,0", "a,b"] {
            assert!(position(bad).is_err(), "{bad}");
        }
        assert!(seconds("5").is_err() && seconds("60").is_ok());
        assert!(officers("1").is_err() && officers("12").is_ok());
    }
}
