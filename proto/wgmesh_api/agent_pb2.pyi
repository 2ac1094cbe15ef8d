from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AgentEmpty(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class MeshInfo(_message.Message):
    __slots__ = ("name", "nodeCount", "nodeName", "meshCeationTS", "nodeJoinTS", "interface", "backend", "pubkey", "meshCidrs", "meshIPs", "gossipProfile", "gossipEncrypted", "tls", "mtu", "version", "endpoint", "refusals", "bootstrap", "behindNat", "rejectedInput", "secretIds")
    class RefusalsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    class RejectedInputEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    NODECOUNT_FIELD_NUMBER: _ClassVar[int]
    NODENAME_FIELD_NUMBER: _ClassVar[int]
    MESHCEATIONTS_FIELD_NUMBER: _ClassVar[int]
    NODEJOINTS_FIELD_NUMBER: _ClassVar[int]
    INTERFACE_FIELD_NUMBER: _ClassVar[int]
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    PUBKEY_FIELD_NUMBER: _ClassVar[int]
    MESHCIDRS_FIELD_NUMBER: _ClassVar[int]
    MESHIPS_FIELD_NUMBER: _ClassVar[int]
    GOSSIPPROFILE_FIELD_NUMBER: _ClassVar[int]
    GOSSIPENCRYPTED_FIELD_NUMBER: _ClassVar[int]
    TLS_FIELD_NUMBER: _ClassVar[int]
    MTU_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    REFUSALS_FIELD_NUMBER: _ClassVar[int]
    BOOTSTRAP_FIELD_NUMBER: _ClassVar[int]
    BEHINDNAT_FIELD_NUMBER: _ClassVar[int]
    REJECTEDINPUT_FIELD_NUMBER: _ClassVar[int]
    SECRETIDS_FIELD_NUMBER: _ClassVar[int]
    name: str
    nodeCount: int
    nodeName: str
    meshCeationTS: int
    nodeJoinTS: int
    interface: str
    backend: str
    pubkey: str
    meshCidrs: _containers.RepeatedScalarFieldContainer[str]
    meshIPs: _containers.RepeatedScalarFieldContainer[str]
    gossipProfile: str
    gossipEncrypted: bool
    tls: bool
    mtu: int
    version: str
    endpoint: str
    refusals: _containers.ScalarMap[str, int]
    bootstrap: bool
    behindNat: bool
    rejectedInput: _containers.ScalarMap[str, int]
    secretIds: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, name: _Optional[str] = ..., nodeCount: _Optional[int] = ..., nodeName: _Optional[str] = ..., meshCeationTS: _Optional[int] = ..., nodeJoinTS: _Optional[int] = ..., interface: _Optional[str] = ..., backend: _Optional[str] = ..., pubkey: _Optional[str] = ..., meshCidrs: _Optional[_Iterable[str]] = ..., meshIPs: _Optional[_Iterable[str]] = ..., gossipProfile: _Optional[str] = ..., gossipEncrypted: _Optional[bool] = ..., tls: _Optional[bool] = ..., mtu: _Optional[int] = ..., version: _Optional[str] = ..., endpoint: _Optional[str] = ..., refusals: _Optional[_Mapping[str, int]] = ..., bootstrap: _Optional[bool] = ..., behindNat: _Optional[bool] = ..., rejectedInput: _Optional[_Mapping[str, int]] = ..., secretIds: _Optional[_Iterable[bytes]] = ...) -> None: ...

class MemberInfoTag(_message.Message):
    __slots__ = ("key", "value")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    key: str
    value: str
    def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...

class MemberInfo(_message.Message):
    __slots__ = ("nodeName", "addr", "status", "rttMsec", "tags", "isLocalNode", "endpoint", "lastHandshakeTS", "rxBytes", "txBytes", "meshIPs", "pubkey", "rttUsec", "bootstrap", "probed", "receiving", "peerReceiving", "pathMTU", "lastProbeMsecAgo", "routes", "relay", "presharedKey")
    NODENAME_FIELD_NUMBER: _ClassVar[int]
    ADDR_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    RTTMSEC_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    ISLOCALNODE_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    LASTHANDSHAKETS_FIELD_NUMBER: _ClassVar[int]
    RXBYTES_FIELD_NUMBER: _ClassVar[int]
    TXBYTES_FIELD_NUMBER: _ClassVar[int]
    MESHIPS_FIELD_NUMBER: _ClassVar[int]
    PUBKEY_FIELD_NUMBER: _ClassVar[int]
    RTTUSEC_FIELD_NUMBER: _ClassVar[int]
    BOOTSTRAP_FIELD_NUMBER: _ClassVar[int]
    PROBED_FIELD_NUMBER: _ClassVar[int]
    RECEIVING_FIELD_NUMBER: _ClassVar[int]
    PEERRECEIVING_FIELD_NUMBER: _ClassVar[int]
    PATHMTU_FIELD_NUMBER: _ClassVar[int]
    LASTPROBEMSECAGO_FIELD_NUMBER: _ClassVar[int]
    ROUTES_FIELD_NUMBER: _ClassVar[int]
    RELAY_FIELD_NUMBER: _ClassVar[int]
    PRESHAREDKEY_FIELD_NUMBER: _ClassVar[int]
    nodeName: str
    addr: str
    status: str
    rttMsec: int
    tags: _containers.RepeatedCompositeFieldContainer[MemberInfoTag]
    isLocalNode: bool
    endpoint: str
    lastHandshakeTS: int
    rxBytes: int
    txBytes: int
    meshIPs: _containers.RepeatedScalarFieldContainer[str]
    pubkey: str
    rttUsec: int
    bootstrap: bool
    probed: bool
    receiving: bool
    peerReceiving: bool
    pathMTU: int
    lastProbeMsecAgo: int
    routes: _containers.RepeatedScalarFieldContainer[str]
    relay: str
    presharedKey: bool
    def __init__(self, nodeName: _Optional[str] = ..., addr: _Optional[str] = ..., status: _Optional[str] = ..., rttMsec: _Optional[int] = ..., tags: _Optional[_Iterable[_Union[MemberInfoTag, _Mapping]]] = ..., isLocalNode: _Optional[bool] = ..., endpoint: _Optional[str] = ..., lastHandshakeTS: _Optional[int] = ..., rxBytes: _Optional[int] = ..., txBytes: _Optional[int] = ..., meshIPs: _Optional[_Iterable[str]] = ..., pubkey: _Optional[str] = ..., rttUsec: _Optional[int] = ..., bootstrap: _Optional[bool] = ..., probed: _Optional[bool] = ..., receiving: _Optional[bool] = ..., peerReceiving: _Optional[bool] = ..., pathMTU: _Optional[int] = ..., lastProbeMsecAgo: _Optional[int] = ..., routes: _Optional[_Iterable[str]] = ..., relay: _Optional[str] = ..., presharedKey: _Optional[bool] = ...) -> None: ...

class WaitInfo(_message.Message):
    __slots__ = ("timeoutSecs",)
    TIMEOUTSECS_FIELD_NUMBER: _ClassVar[int]
    timeoutSecs: int
    def __init__(self, timeoutSecs: _Optional[int] = ...) -> None: ...

class WaitResponse(_message.Message):
    __slots__ = ("wasTimeout", "changesOccured")
    WASTIMEOUT_FIELD_NUMBER: _ClassVar[int]
    CHANGESOCCURED_FIELD_NUMBER: _ClassVar[int]
    wasTimeout: bool
    changesOccured: bool
    def __init__(self, wasTimeout: _Optional[bool] = ..., changesOccured: _Optional[bool] = ...) -> None: ...

class NodeTag(_message.Message):
    __slots__ = ("key", "value")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    key: str
    value: str
    def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...

class TagResult(_message.Message):
    __slots__ = ("ok", "message")
    OK_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    ok: bool
    message: str
    def __init__(self, ok: _Optional[bool] = ..., message: _Optional[str] = ...) -> None: ...

class RTTNodeInfo(_message.Message):
    __slots__ = ("nodeName", "rttMsec", "rttUsec")
    NODENAME_FIELD_NUMBER: _ClassVar[int]
    RTTMSEC_FIELD_NUMBER: _ClassVar[int]
    RTTUSEC_FIELD_NUMBER: _ClassVar[int]
    nodeName: str
    rttMsec: int
    rttUsec: int
    def __init__(self, nodeName: _Optional[str] = ..., rttMsec: _Optional[int] = ..., rttUsec: _Optional[int] = ...) -> None: ...

class RTTInfo(_message.Message):
    __slots__ = ("nodeName", "rtts")
    NODENAME_FIELD_NUMBER: _ClassVar[int]
    RTTS_FIELD_NUMBER: _ClassVar[int]
    nodeName: str
    rtts: _containers.RepeatedCompositeFieldContainer[RTTNodeInfo]
    def __init__(self, nodeName: _Optional[str] = ..., rtts: _Optional[_Iterable[_Union[RTTNodeInfo, _Mapping]]] = ...) -> None: ...

class RotateKeysRequest(_message.Message):
    __slots__ = ("keys",)
    class Keys(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        GOSSIP: _ClassVar[RotateKeysRequest.Keys]
        WIREGUARD: _ClassVar[RotateKeysRequest.Keys]
    GOSSIP: RotateKeysRequest.Keys
    WIREGUARD: RotateKeysRequest.Keys
    KEYS_FIELD_NUMBER: _ClassVar[int]
    keys: RotateKeysRequest.Keys
    def __init__(self, keys: _Optional[_Union[RotateKeysRequest.Keys, str]] = ...) -> None: ...

class RotateKeysResult(_message.Message):
    __slots__ = ("ok", "message")
    OK_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    ok: bool
    message: str
    def __init__(self, ok: _Optional[bool] = ..., message: _Optional[str] = ...) -> None: ...

class LeaveRequest(_message.Message):
    __slots__ = ("nodeName",)
    NODENAME_FIELD_NUMBER: _ClassVar[int]
    nodeName: str
    def __init__(self, nodeName: _Optional[str] = ...) -> None: ...

class LeaveResult(_message.Message):
    __slots__ = ("ok", "message")
    OK_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    ok: bool
    message: str
    def __init__(self, ok: _Optional[bool] = ..., message: _Optional[str] = ...) -> None: ...

class ExamineRequest(_message.Message):
    __slots__ = ("nodeName",)
    NODENAME_FIELD_NUMBER: _ClassVar[int]
    nodeName: str
    def __init__(self, nodeName: _Optional[str] = ...) -> None: ...

class ExamineResult(_message.Message):
    __slots__ = ("ok", "message", "own", "links", "linkCount", "badCount")
    OK_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    OWN_FIELD_NUMBER: _ClassVar[int]
    LINKS_FIELD_NUMBER: _ClassVar[int]
    LINKCOUNT_FIELD_NUMBER: _ClassVar[int]
    BADCOUNT_FIELD_NUMBER: _ClassVar[int]
    ok: bool
    message: str
    own: OwnFacts
    links: _containers.RepeatedCompositeFieldContainer[LinkFacts]
    linkCount: int
    badCount: int
    def __init__(self, ok: _Optional[bool] = ..., message: _Optional[str] = ..., own: _Optional[_Union[OwnFacts, _Mapping]] = ..., links: _Optional[_Iterable[_Union[LinkFacts, _Mapping]]] = ..., linkCount: _Optional[int] = ..., badCount: _Optional[int] = ...) -> None: ...

class OwnFacts(_message.Message):
    __slots__ = ("pubkey", "interfacePubkey", "interfaceTrouble", "listenPort", "gossipPort", "probePort", "clockMsec", "tls", "certificateNotBefore", "certificateNotAfter", "certificateSubject", "refused", "addressChanges", "undone", "forwards", "down", "rosterMsecAgo", "secretCount")
    PUBKEY_FIELD_NUMBER: _ClassVar[int]
    INTERFACEPUBKEY_FIELD_NUMBER: _ClassVar[int]
    INTERFACETROUBLE_FIELD_NUMBER: _ClassVar[int]
    LISTENPORT_FIELD_NUMBER: _ClassVar[int]
    GOSSIPPORT_FIELD_NUMBER: _ClassVar[int]
    PROBEPORT_FIELD_NUMBER: _ClassVar[int]
    CLOCKMSEC_FIELD_NUMBER: _ClassVar[int]
    TLS_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATENOTBEFORE_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATENOTAFTER_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATESUBJECT_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    ADDRESSCHANGES_FIELD_NUMBER: _ClassVar[int]
    UNDONE_FIELD_NUMBER: _ClassVar[int]
    FORWARDS_FIELD_NUMBER: _ClassVar[int]
    DOWN_FIELD_NUMBER: _ClassVar[int]
    ROSTERMSECAGO_FIELD_NUMBER: _ClassVar[int]
    SECRETCOUNT_FIELD_NUMBER: _ClassVar[int]
    pubkey: str
    interfacePubkey: str
    interfaceTrouble: str
    listenPort: int
    gossipPort: int
    probePort: int
    clockMsec: int
    tls: bool
    certificateNotBefore: int
    certificateNotAfter: int
    certificateSubject: str
    refused: _containers.RepeatedCompositeFieldContainer[Refused]
    addressChanges: int
    undone: str
    forwards: bool
    down: _containers.RepeatedCompositeFieldContainer[ComponentDown]
    rosterMsecAgo: int
    secretCount: int
    def __init__(self, pubkey: _Optional[str] = ..., interfacePubkey: _Optional[str] = ..., interfaceTrouble: _Optional[str] = ..., listenPort: _Optional[int] = ..., gossipPort: _Optional[int] = ..., probePort: _Optional[int] = ..., clockMsec: _Optional[int] = ..., tls: _Optional[bool] = ..., certificateNotBefore: _Optional[int] = ..., certificateNotAfter: _Optional[int] = ..., certificateSubject: _Optional[str] = ..., refused: _Optional[_Iterable[_Union[Refused, _Mapping]]] = ..., addressChanges: _Optional[int] = ..., undone: _Optional[str] = ..., forwards: _Optional[bool] = ..., down: _Optional[_Iterable[_Union[ComponentDown, _Mapping]]] = ..., rosterMsecAgo: _Optional[int] = ..., secretCount: _Optional[int] = ...) -> None: ...

class ComponentDown(_message.Message):
    __slots__ = ("name", "why")
    NAME_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    name: str
    why: str
    def __init__(self, name: _Optional[str] = ..., why: _Optional[str] = ...) -> None: ...

class Refused(_message.Message):
    __slots__ = ("reason", "message", "secondsAgo")
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    SECONDSAGO_FIELD_NUMBER: _ClassVar[int]
    reason: str
    message: str
    secondsAgo: int
    def __init__(self, reason: _Optional[str] = ..., message: _Optional[str] = ..., secondsAgo: _Optional[int] = ...) -> None: ...

class LinkFacts(_message.Message):
    __slots__ = ("nodeName", "status", "boundKey", "toldKey", "meshIPs", "programmed", "allowed", "endpoint", "routeTrouble", "portAnswer", "handshakeMsecAgo", "keepaliveSeconds", "watched", "rxGrowth", "txGrowth", "probed", "heard", "heardMsecAgo", "hearsUs", "smallPasses", "largePasses", "largeBytes", "gossipTried", "gossipTrouble", "view", "viewRxGrowth", "viewTxGrowth", "clockAheadMsec", "clockDoubtMsec", "others", "addressChanges", "toldSecretCount", "secretInCommon", "presharedKey")
    NODENAME_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    BOUNDKEY_FIELD_NUMBER: _ClassVar[int]
    TOLDKEY_FIELD_NUMBER: _ClassVar[int]
    MESHIPS_FIELD_NUMBER: _ClassVar[int]
    PROGRAMMED_FIELD_NUMBER: _ClassVar[int]
    ALLOWED_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    ROUTETROUBLE_FIELD_NUMBER: _ClassVar[int]
    PORTANSWER_FIELD_NUMBER: _ClassVar[int]
    HANDSHAKEMSECAGO_FIELD_NUMBER: _ClassVar[int]
    KEEPALIVESECONDS_FIELD_NUMBER: _ClassVar[int]
    WATCHED_FIELD_NUMBER: _ClassVar[int]
    RXGROWTH_FIELD_NUMBER: _ClassVar[int]
    TXGROWTH_FIELD_NUMBER: _ClassVar[int]
    PROBED_FIELD_NUMBER: _ClassVar[int]
    HEARD_FIELD_NUMBER: _ClassVar[int]
    HEARDMSECAGO_FIELD_NUMBER: _ClassVar[int]
    HEARSUS_FIELD_NUMBER: _ClassVar[int]
    SMALLPASSES_FIELD_NUMBER: _ClassVar[int]
    LARGEPASSES_FIELD_NUMBER: _ClassVar[int]
    LARGEBYTES_FIELD_NUMBER: _ClassVar[int]
    GOSSIPTRIED_FIELD_NUMBER: _ClassVar[int]
    GOSSIPTROUBLE_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    VIEWRXGROWTH_FIELD_NUMBER: _ClassVar[int]
    VIEWTXGROWTH_FIELD_NUMBER: _ClassVar[int]
    CLOCKAHEADMSEC_FIELD_NUMBER: _ClassVar[int]
    CLOCKDOUBTMSEC_FIELD_NUMBER: _ClassVar[int]
    OTHERS_FIELD_NUMBER: _ClassVar[int]
    ADDRESSCHANGES_FIELD_NUMBER: _ClassVar[int]
    TOLDSECRETCOUNT_FIELD_NUMBER: _ClassVar[int]
    SECRETINCOMMON_FIELD_NUMBER: _ClassVar[int]
    PRESHAREDKEY_FIELD_NUMBER: _ClassVar[int]
    nodeName: str
    status: str
    boundKey: str
    toldKey: str
    meshIPs: _containers.RepeatedScalarFieldContainer[str]
    programmed: bool
    allowed: bool
    endpoint: str
    routeTrouble: str
    portAnswer: str
    handshakeMsecAgo: int
    keepaliveSeconds: int
    watched: bool
    rxGrowth: int
    txGrowth: int
    probed: bool
    heard: bool
    heardMsecAgo: int
    hearsUs: bool
    smallPasses: bool
    largePasses: bool
    largeBytes: int
    gossipTried: bool
    gossipTrouble: str
    view: LinkView
    viewRxGrowth: int
    viewTxGrowth: int
    clockAheadMsec: int
    clockDoubtMsec: int
    others: _containers.RepeatedCompositeFieldContainer[LinkView]
    addressChanges: int
    toldSecretCount: int
    secretInCommon: bool
    presharedKey: bool
    def __init__(self, nodeName: _Optional[str] = ..., status: _Optional[str] = ..., boundKey: _Optional[str] = ..., toldKey: _Optional[str] = ..., meshIPs: _Optional[_Iterable[str]] = ..., programmed: _Optional[bool] = ..., allowed: _Optional[bool] = ..., endpoint: _Optional[str] = ..., routeTrouble: _Optional[str] = ..., portAnswer: _Optional[str] = ..., handshakeMsecAgo: _Optional[int] = ..., keepaliveSeconds: _Optional[int] = ..., watched: _Optional[bool] = ..., rxGrowth: _Optional[int] = ..., txGrowth: _Optional[int] = ..., probed: _Optional[bool] = ..., heard: _Optional[bool] = ..., heardMsecAgo: _Optional[int] = ..., hearsUs: _Optional[bool] = ..., smallPasses: _Optional[bool] = ..., largePasses: _Optional[bool] = ..., largeBytes: _Optional[int] = ..., gossipTried: _Optional[bool] = ..., gossipTrouble: _Optional[str] = ..., view: _Optional[_Union[LinkView, _Mapping]] = ..., viewRxGrowth: _Optional[int] = ..., viewTxGrowth: _Optional[int] = ..., clockAheadMsec: _Optional[int] = ..., clockDoubtMsec: _Optional[int] = ..., others: _Optional[_Iterable[_Union[LinkView, _Mapping]]] = ..., addressChanges: _Optional[int] = ..., toldSecretCount: _Optional[int] = ..., secretInCommon: _Optional[bool] = ..., presharedKey: _Optional[bool] = ...) -> None: ...

class LinkView(_message.Message):
    __slots__ = ("nodeName", "clockMsec", "interfacePubkey", "peerKey", "endpoint", "handshakeMsecAgo", "rxBytes", "txBytes", "heard", "heardMsecAgo", "status", "certificateNotAfter", "addressChanges")
    NODENAME_FIELD_NUMBER: _ClassVar[int]
    CLOCKMSEC_FIELD_NUMBER: _ClassVar[int]
    INTERFACEPUBKEY_FIELD_NUMBER: _ClassVar[int]
    PEERKEY_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    HANDSHAKEMSECAGO_FIELD_NUMBER: _ClassVar[int]
    RXBYTES_FIELD_NUMBER: _ClassVar[int]
    TXBYTES_FIELD_NUMBER: _ClassVar[int]
    HEARD_FIELD_NUMBER: _ClassVar[int]
    HEARDMSECAGO_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATENOTAFTER_FIELD_NUMBER: _ClassVar[int]
    ADDRESSCHANGES_FIELD_NUMBER: _ClassVar[int]
    nodeName: str
    clockMsec: int
    interfacePubkey: str
    peerKey: str
    endpoint: str
    handshakeMsecAgo: int
    rxBytes: int
    txBytes: int
    heard: bool
    heardMsecAgo: int
    status: str
    certificateNotAfter: int
    addressChanges: int
    def __init__(self, nodeName: _Optional[str] = ..., clockMsec: _Optional[int] = ..., interfacePubkey: _Optional[str] = ..., peerKey: _Optional[str] = ..., endpoint: _Optional[str] = ..., handshakeMsecAgo: _Optional[int] = ..., rxBytes: _Optional[int] = ..., txBytes: _Optional[int] = ..., heard: _Optional[bool] = ..., heardMsecAgo: _Optional[int] = ..., status: _Optional[str] = ..., certificateNotAfter: _Optional[int] = ..., addressChanges: _Optional[int] = ...) -> None: ...
