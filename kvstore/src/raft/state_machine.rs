//! Applies commands to the replicated state. Pure: no clock, no network, no file; what it changes beside
//! memory it puts into a batch, and every member that applies the same log arrives at the same state.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use etcd_protocol::authpb::{Role, User};
use etcd_protocol::etcdserverpb as pb;
use etcd_protocol::etcdserverpb::alarm_request::AlarmAction;
use etcd_protocol::etcdserverpb::{AlarmMember, AlarmType, Member};
use prost::Message;

use super::codec::AppliedRecord;
use super::command::{Answer, Kind};
use super::{LogId, StoredMembership};
use crate::auth::table::AuthRecord;
use crate::auth::tokens::TokenEffect;
use crate::auth::{AuthCommand, AuthTable, Caller, Change as AuthChange, check};
use crate::error::Error;
use crate::lease::{LeaseRecord, Table};
use crate::mvcc::{self, Change, Keyspace, Records, Txn, compact};
use crate::state::{Batch, StateError, StateStore, schema};

/// Everything that the log decides.
#[derive(Default)]
pub struct Machine {
    pub keyspace: Keyspace,
    pub leases: Table,
    /// Shared with who reads it between commands.
    pub auth: Arc<AuthTable>,
    pub alarms: BTreeMap<(u64, i32), AlarmMember>,
    /// Names and client URLs, as members published them.
    pub members: BTreeMap<u64, Member>,
    /// Members of once. They never come back: who replaces one has an id of its own.
    pub removed: BTreeSet<u64>,
    pub applied: Option<LogId>,
    pub membership: StoredMembership,
}

/// What applying one command did.
pub struct Outcome {
    pub answer: Result<Answer, Error>,
    /// Changes of keys, all of one revision.
    pub changes: Vec<Change>,
    pub effect: Option<Effect>,
}

/// What others than readers and watchers want to know of.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    Granted {
        lease: i64,
        ttl: i64,
    },
    Revoked {
        lease: i64,
    },
    Compacted,
    /// Users, roles or tokens changed.
    Auth(TokenEffect),
}

impl Effect {
    fn of(kind: &Kind) -> Option<Self> {
        match kind {
            Kind::Compact(_) => Some(Effect::Compacted),
            Kind::LeaseGrant(request) => Some(Effect::Granted { lease: request.id, ttl: request.ttl }),
            Kind::LeaseRevoke(request) => Some(Effect::Revoked { lease: request.id }),
            Kind::Put(_)
            | Kind::DeleteRange(_)
            | Kind::Txn(_)
            | Kind::Alarm(_)
            | Kind::Publish(_)
            | Kind::Admit(_) => None,
            Kind::Auth(command) => {
                Some(Effect::Auth(command.change.as_ref().map_or(TokenEffect::None, tokens_of)))
            }
        }
    }
}

impl Machine {
    /// Reads the state back; the index is rebuilt from the records.
    pub fn load(state: &dyn StateStore) -> Result<Self, StateError> {
        let mut machine = Self { keyspace: Keyspace::load(state)?, ..Self::default() };
        each(state, schema::LEASES, |record: LeaseRecord| {
            // Fails only for an id of 0 or one given twice, and the keys of a map are neither.
            machine.leases.grant(record.id, record.ttl).ok();
        })?;
        each(state, schema::ALARMS, |alarm: AlarmMember| {
            machine.alarms.insert((alarm.member_id, alarm.alarm), alarm);
        })?;
        each(state, schema::MEMBERS, |member: Member| {
            machine.members.insert(member.id, member);
        })?;
        state.scan(schema::REMOVED.0, schema::REMOVED.1, &mut |key, _| {
            machine.removed.extend(schema::removed_id(key));
            ControlFlow::Continue(())
        })?;
        let (mut users, mut roles): (Vec<User>, Vec<Role>) = Default::default();
        each(state, schema::USERS, |user| users.push(user))?;
        each(state, schema::ROLES, |role| roles.push(role))?;
        let mut record = None;
        let key = schema::meta(schema::AUTH);
        if let Some(bytes) = state.get(&key)? {
            record = Some(AuthRecord::decode(bytes).map_err(|_| StateError::Broken(key))?);
        }
        machine.auth = Arc::new(AuthTable::load(record, users, roles));
        for (key, history) in machine.keyspace.index.after(None) {
            if let Some(version) = history.latest().filter(|version| version.lease != 0) {
                mvcc::Leases::attach(&mut machine.leases, version.lease, key);
            }
        }
        let key = schema::meta(schema::APPLIED);
        if let Some(bytes) = state.get(&key)? {
            let record = AppliedRecord::decode(bytes).map_err(|_| StateError::Broken(key.clone()))?;
            machine.applied = record.last();
            machine.membership = record.membership().map_err(|_| StateError::Broken(key))?;
        }
        Ok(machine)
    }

    /// Records how far the log has been applied, in the batch that holds what was applied.
    pub fn record_applied(&self, batch: &mut Batch) {
        let applied = AppliedRecord::new(self.applied, &self.membership);
        batch.put(schema::meta(schema::APPLIED), applied.encode_to_vec());
        batch.put(schema::meta(schema::REVISION), self.keyspace.revision.to_be_bytes().to_vec());
    }

    pub fn no_space(&self) -> bool {
        self.alarms.values().any(|alarm| alarm.alarm() == AlarmType::Nospace)
    }

    pub fn apply(
        &mut self,
        kind: &Kind,
        caller: &Caller,
        records: &dyn Records,
        batch: &mut Batch,
    ) -> Outcome {
        let refused = |error| Outcome { answer: Err(error), changes: Vec::new(), effect: None };
        if self.no_space() && grows(kind) {
            return refused(Error::NoSpace);
        }
        if let Err(error) = check::permit(&self.auth, caller, kind, &self.leases) {
            return refused(error);
        }
        let mut changes = Vec::new();
        let answer = match kind {
            Kind::Put(put) => self.transact(records, &mut changes, |txn| txn.put(put)).map(Answer::Put),
            Kind::DeleteRange(delete) => {
                self.transact(records, &mut changes, |txn| txn.delete_range(delete)).map(Answer::DeleteRange)
            }
            Kind::Txn(txn) => self.transact(records, &mut changes, |t| t.txn(txn)).map(Answer::Txn),
            Kind::Compact(request) => self.compact(request, batch),
            Kind::LeaseGrant(request) => self.grant(request, batch),
            Kind::LeaseRevoke(request) => self.revoke(request, records, &mut changes, batch),
            Kind::Alarm(request) => Ok(self.alarm(request, batch)),
            Kind::Publish(member) => {
                // What it was admitted as is not for it to say.
                let is_learner = self.members.get(&member.id).is_some_and(|known| known.is_learner);
                self.record_member(Member { is_learner, ..member.clone() }, batch);
                Ok(Answer::None)
            }
            Kind::Admit(member) => {
                self.record_member(member.clone(), batch);
                Ok(Answer::None)
            }
            Kind::Auth(command) => self.change_auth(command, batch),
        };
        self.keyspace.record(&changes, batch);
        let effect = match (&answer, kind) {
            (Err(_), _) => None,
            (Ok(Answer::Token(token)), Kind::Auth(command)) => Some(Effect::Auth(given(command, token))),
            (Ok(_), _) => Effect::of(kind),
        };
        Outcome { answer, changes, effect }
    }

    fn change_auth(&mut self, command: &AuthCommand, batch: &mut Batch) -> Result<Answer, Error> {
        let change =
            command.change.as_ref().ok_or_else(|| Error::Internal("an empty change of users".to_owned()))?;
        // A copy only if someone holds on to the table as it was.
        Arc::make_mut(&mut self.auth).apply(change, batch)?;
        match change {
            AuthChange::Authenticate(request) => {
                let index = self.applied.map_or(0, |id| id.index) + 1;
                Ok(Answer::Token(format!("{}.{index}", request.prefix)))
            }
            _ => Ok(Answer::Revision(self.keyspace.revision)),
        }
    }

    fn record_member(&mut self, member: Member, batch: &mut Batch) {
        batch.put(schema::member(member.id), member.encode_to_vec());
        self.members.insert(member.id, member);
    }

    /// Takes over the members that an entry of the log names.
    pub fn configure(&mut self, membership: StoredMembership, batch: &mut Batch) {
        let ids = |of: &StoredMembership| of.nodes().map(|(id, _)| *id).collect::<BTreeSet<u64>>();
        let (before, after) = (ids(&self.membership), ids(&membership));
        for id in before.difference(&after) {
            self.removed.insert(*id);
            batch.put(schema::removed(*id), Vec::new());
            self.members.remove(id);
            batch.delete(schema::member(*id));
        }
        self.membership = membership;
    }

    fn transact<T>(
        &mut self,
        records: &dyn Records,
        changes: &mut Vec<Change>,
        run: impl FnOnce(&mut Txn<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut txn = Txn::new(&mut self.keyspace, records, &mut self.leases);
        let answer = run(&mut txn);
        *changes = txn.commit();
        answer
    }

    fn compact(&mut self, request: &pb::CompactionRequest, batch: &mut Batch) -> Result<Answer, Error> {
        compact::check(&self.keyspace, request.revision)?;
        self.keyspace.compacted = request.revision;
        batch.put(schema::meta(schema::COMPACTED), request.revision.to_be_bytes().to_vec());
        Ok(Answer::Revision(self.keyspace.revision))
    }

    fn grant(&mut self, request: &pb::LeaseGrantRequest, batch: &mut Batch) -> Result<Answer, Error> {
        self.leases.grant(request.id, request.ttl)?;
        let record = LeaseRecord { id: request.id, ttl: request.ttl };
        batch.put(schema::lease(request.id), record.encode_to_vec());
        let header = pb::ResponseHeader { revision: self.keyspace.revision, ..Default::default() };
        Ok(Answer::LeaseGrant(pb::LeaseGrantResponse {
            header: Some(header),
            id: request.id,
            ttl: request.ttl,
            error: String::new(),
        }))
    }

    /// Ends a lease: its keys go in one revision.
    fn revoke(
        &mut self,
        request: &pb::LeaseRevokeRequest,
        records: &dyn Records,
        changes: &mut Vec<Change>,
        batch: &mut Batch,
    ) -> Result<Answer, Error> {
        let keys = self.leases.revoke(request.id)?;
        batch.delete(schema::lease(request.id));
        self.transact(records, changes, |txn| {
            for key in keys {
                let key = bytes::Bytes::copy_from_slice(&key);
                txn.delete_range(&pb::DeleteRangeRequest { key, ..Default::default() })?;
            }
            Ok(())
        })?;
        Ok(Answer::Revision(self.keyspace.revision))
    }

    fn alarm(&mut self, request: &pb::AlarmRequest, batch: &mut Batch) -> Answer {
        let member = |member: &AlarmMember| {
            (request.member_id == 0 || member.member_id == request.member_id)
                && (request.alarm() == AlarmType::None || member.alarm == request.alarm)
        };
        let mut alarms = Vec::new();
        match request.action() {
            AlarmAction::Get => alarms.extend(self.alarms.values().filter(|alarm| member(alarm)).copied()),
            AlarmAction::Activate if request.alarm() != AlarmType::None => {
                let alarm = AlarmMember { member_id: request.member_id, alarm: request.alarm };
                let key = (alarm.member_id, alarm.alarm);
                batch.put(schema::alarm(key.0, key.1), alarm.encode_to_vec());
                if self.alarms.insert(key, alarm).is_none() {
                    alarms.push(alarm);
                }
            }
            AlarmAction::Activate => {}
            AlarmAction::Deactivate => {
                alarms.extend(self.alarms.values().filter(|alarm| member(alarm)).copied());
                for alarm in &alarms {
                    self.alarms.remove(&(alarm.member_id, alarm.alarm));
                    batch.delete(schema::alarm(alarm.member_id, alarm.alarm));
                }
            }
        }
        let header = pb::ResponseHeader { revision: self.keyspace.revision, ..Default::default() };
        Answer::Alarm(pb::AlarmResponse { header: Some(header), alarms })
    }
}

fn tokens_of(change: &AuthChange) -> TokenEffect {
    match change {
        AuthChange::UserDelete(request) => TokenEffect::Forget { user: request.name.clone() },
        AuthChange::UserChangePassword(request) => TokenEffect::Forget { user: request.name.clone() },
        AuthChange::Disable(_) => TokenEffect::ForgetAll,
        _ => TokenEffect::None,
    }
}

fn given(command: &AuthCommand, token: &str) -> TokenEffect {
    match &command.change {
        Some(AuthChange::Authenticate(request)) => {
            TokenEffect::Give { user: request.name.clone(), token: token.to_owned() }
        }
        _ => TokenEffect::None,
    }
}

/// Whether a command may need more room; deletions and compactions pass when there is none.
pub fn grows(kind: &Kind) -> bool {
    match kind {
        Kind::Put(_) | Kind::LeaseGrant(_) => true,
        Kind::Txn(txn) => puts(txn),
        Kind::DeleteRange(_)
        | Kind::Compact(_)
        | Kind::LeaseRevoke(_)
        | Kind::Alarm(_)
        | Kind::Publish(_)
        | Kind::Admit(_)
        | Kind::Auth(_) => false,
    }
}

fn puts(txn: &pb::TxnRequest) -> bool {
    use pb::request_op::Request;
    txn.success.iter().chain(&txn.failure).any(|op| match &op.request {
        Some(Request::RequestPut(_)) => true,
        Some(Request::RequestTxn(nested)) => puts(nested),
        _ => false,
    })
}

fn each<M: Message + Default>(
    state: &dyn StateStore,
    (from, to): (&[u8], &[u8]),
    mut found: impl FnMut(M),
) -> Result<(), StateError> {
    let mut failed = None;
    state.scan(from, to, &mut |key, value| match M::decode(value) {
        Ok(message) => {
            found(message);
            ControlFlow::Continue(())
        }
        Err(_) => {
            failed = Some(StateError::Broken(key.to_vec()));
            ControlFlow::Break(())
        }
    })?;
    failed.map_or(Ok(()), Err)
}
