from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AgentEmpty(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class MeshInfo(_message.Message):
    __slots__ = ("name", "nodeCount", "nodeName", "meshCeationTS", "nodeJoinTS", "interface", "backend", "pubkey", "meshCidrs", "meshIPs", "gossipProfile", "gossipEncrypted", "tls", "mtu", "version", "endpoint", "refusals", "bootstrap")
    class RefusalsEntry(_message.Message):
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
    def __init__(self, name: _Optional[str] = ..., nodeCount: _Optional[int] = ..., nodeName: _Optional[str] = ..., meshCeationTS: _Optional[int] = ..., nodeJoinTS: _Optional[int] = ..., interface: _Optional[str] = ..., backend: _Optional[str] = ..., pubkey: _Optional[str] = ..., meshCidrs: _Optional[_Iterable[str]] = ..., meshIPs: _Optional[_Iterable[str]] = ..., gossipProfile: _Optional[str] = ..., gossipEncrypted: _Optional[bool] = ..., tls: _Optional[bool] = ..., mtu: _Optional[int] = ..., version: _Optional[str] = ..., endpoint: _Optional[str] = ..., refusals: _Optional[_Mapping[str, int]] = ..., bootstrap: _Optional[bool] = ...) -> None: ...

class MemberInfoTag(_message.Message):
    __slots__ = ("key", "value")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    key: str
    value: str
    def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...

class MemberInfo(_message.Message):
    __slots__ = ("nodeName", "addr", "status", "rttMsec", "tags", "isLocalNode", "endpoint", "lastHandshakeTS", "rxBytes", "txBytes", "meshIPs", "pubkey", "rttUsec", "bootstrap", "probed", "heard", "hearsUs", "pathMTU", "routes")
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
    HEARD_FIELD_NUMBER: _ClassVar[int]
    HEARSUS_FIELD_NUMBER: _ClassVar[int]
    PATHMTU_FIELD_NUMBER: _ClassVar[int]
    ROUTES_FIELD_NUMBER: _ClassVar[int]
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
    heard: bool
    hearsUs: bool
    pathMTU: int
    routes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, nodeName: _Optional[str] = ..., addr: _Optional[str] = ..., status: _Optional[str] = ..., rttMsec: _Optional[int] = ..., tags: _Optional[_Iterable[_Union[MemberInfoTag, _Mapping]]] = ..., isLocalNode: _Optional[bool] = ..., endpoint: _Optional[str] = ..., lastHandshakeTS: _Optional[int] = ..., rxBytes: _Optional[int] = ..., txBytes: _Optional[int] = ..., meshIPs: _Optional[_Iterable[str]] = ..., pubkey: _Optional[str] = ..., rttUsec: _Optional[int] = ..., bootstrap: _Optional[bool] = ..., probed: _Optional[bool] = ..., heard: _Optional[bool] = ..., hearsUs: _Optional[bool] = ..., pathMTU: _Optional[int] = ..., routes: _Optional[_Iterable[str]] = ...) -> None: ...

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
