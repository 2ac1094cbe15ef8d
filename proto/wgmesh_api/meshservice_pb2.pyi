from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Empty(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class HandshakeRequest(_message.Message):
    __slots__ = ("meshName",)
    MESHNAME_FIELD_NUMBER: _ClassVar[int]
    meshName: str
    def __init__(self, meshName: _Optional[str] = ...) -> None: ...

class HandshakeResponse(_message.Message):
    __slots__ = ("result", "errorMessage", "joinToken", "authReqs", "replacesKeys")
    class Result(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        OK: _ClassVar[HandshakeResponse.Result]
        ERROR: _ClassVar[HandshakeResponse.Result]
    OK: HandshakeResponse.Result
    ERROR: HandshakeResponse.Result
    class AuthReqsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    RESULT_FIELD_NUMBER: _ClassVar[int]
    ERRORMESSAGE_FIELD_NUMBER: _ClassVar[int]
    JOINTOKEN_FIELD_NUMBER: _ClassVar[int]
    AUTHREQS_FIELD_NUMBER: _ClassVar[int]
    REPLACESKEYS_FIELD_NUMBER: _ClassVar[int]
    result: HandshakeResponse.Result
    errorMessage: str
    joinToken: str
    authReqs: _containers.ScalarMap[str, str]
    replacesKeys: bool
    def __init__(self, result: _Optional[_Union[HandshakeResponse.Result, str]] = ..., errorMessage: _Optional[str] = ..., joinToken: _Optional[str] = ..., authReqs: _Optional[_Mapping[str, str]] = ..., replacesKeys: _Optional[bool] = ...) -> None: ...

class JoinRequest(_message.Message):
    __slots__ = ("pubkey", "endpointIP", "endpointPort", "meshName", "nodeName", "replaces", "replacesProof", "routes", "secretIds")
    PUBKEY_FIELD_NUMBER: _ClassVar[int]
    ENDPOINTIP_FIELD_NUMBER: _ClassVar[int]
    ENDPOINTPORT_FIELD_NUMBER: _ClassVar[int]
    MESHNAME_FIELD_NUMBER: _ClassVar[int]
    NODENAME_FIELD_NUMBER: _ClassVar[int]
    REPLACES_FIELD_NUMBER: _ClassVar[int]
    REPLACESPROOF_FIELD_NUMBER: _ClassVar[int]
    ROUTES_FIELD_NUMBER: _ClassVar[int]
    SECRETIDS_FIELD_NUMBER: _ClassVar[int]
    pubkey: str
    endpointIP: str
    endpointPort: int
    meshName: str
    nodeName: str
    replaces: bytes
    replacesProof: bytes
    routes: _containers.RepeatedScalarFieldContainer[str]
    secretIds: bytes
    def __init__(self, pubkey: _Optional[str] = ..., endpointIP: _Optional[str] = ..., endpointPort: _Optional[int] = ..., meshName: _Optional[str] = ..., nodeName: _Optional[str] = ..., replaces: _Optional[bytes] = ..., replacesProof: _Optional[bytes] = ..., routes: _Optional[_Iterable[str]] = ..., secretIds: _Optional[bytes] = ...) -> None: ...

class JoinResponse(_message.Message):
    __slots__ = ("result", "errorMessage", "joiningNodeMeshIP", "meshCidr", "creationTS", "serfEncryptionKey", "serfModeLAN", "meshIPs", "meshCidrs", "gossipPort", "gossipProfile", "nodeName", "admission", "requiresAdmission", "gossipKeys", "gossipKeysSince")
    class Result(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        OK: _ClassVar[JoinResponse.Result]
        ERROR: _ClassVar[JoinResponse.Result]
    OK: JoinResponse.Result
    ERROR: JoinResponse.Result
    RESULT_FIELD_NUMBER: _ClassVar[int]
    ERRORMESSAGE_FIELD_NUMBER: _ClassVar[int]
    JOININGNODEMESHIP_FIELD_NUMBER: _ClassVar[int]
    MESHCIDR_FIELD_NUMBER: _ClassVar[int]
    CREATIONTS_FIELD_NUMBER: _ClassVar[int]
    SERFENCRYPTIONKEY_FIELD_NUMBER: _ClassVar[int]
    SERFMODELAN_FIELD_NUMBER: _ClassVar[int]
    MESHIPS_FIELD_NUMBER: _ClassVar[int]
    MESHCIDRS_FIELD_NUMBER: _ClassVar[int]
    GOSSIPPORT_FIELD_NUMBER: _ClassVar[int]
    GOSSIPPROFILE_FIELD_NUMBER: _ClassVar[int]
    NODENAME_FIELD_NUMBER: _ClassVar[int]
    ADMISSION_FIELD_NUMBER: _ClassVar[int]
    REQUIRESADMISSION_FIELD_NUMBER: _ClassVar[int]
    GOSSIPKEYS_FIELD_NUMBER: _ClassVar[int]
    GOSSIPKEYSSINCE_FIELD_NUMBER: _ClassVar[int]
    result: JoinResponse.Result
    errorMessage: str
    joiningNodeMeshIP: str
    meshCidr: str
    creationTS: int
    serfEncryptionKey: str
    serfModeLAN: bool
    meshIPs: _containers.RepeatedScalarFieldContainer[str]
    meshCidrs: _containers.RepeatedScalarFieldContainer[str]
    gossipPort: int
    gossipProfile: str
    nodeName: str
    admission: AdmissionRecord
    requiresAdmission: bool
    gossipKeys: _containers.RepeatedScalarFieldContainer[str]
    gossipKeysSince: int
    def __init__(self, result: _Optional[_Union[JoinResponse.Result, str]] = ..., errorMessage: _Optional[str] = ..., joiningNodeMeshIP: _Optional[str] = ..., meshCidr: _Optional[str] = ..., creationTS: _Optional[int] = ..., serfEncryptionKey: _Optional[str] = ..., serfModeLAN: _Optional[bool] = ..., meshIPs: _Optional[_Iterable[str]] = ..., meshCidrs: _Optional[_Iterable[str]] = ..., gossipPort: _Optional[int] = ..., gossipProfile: _Optional[str] = ..., nodeName: _Optional[str] = ..., admission: _Optional[_Union[AdmissionRecord, _Mapping]] = ..., requiresAdmission: _Optional[bool] = ..., gossipKeys: _Optional[_Iterable[str]] = ..., gossipKeysSince: _Optional[int] = ...) -> None: ...

class Peer(_message.Message):
    __slots__ = ("type", "pubkey", "endpointIP", "endpointPort", "meshIP", "nodeName", "meshIPs", "bootstrap", "admission", "secretIds")
    class AnnouncementType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        JOIN: _ClassVar[Peer.AnnouncementType]
        LEAVE: _ClassVar[Peer.AnnouncementType]
    JOIN: Peer.AnnouncementType
    LEAVE: Peer.AnnouncementType
    TYPE_FIELD_NUMBER: _ClassVar[int]
    PUBKEY_FIELD_NUMBER: _ClassVar[int]
    ENDPOINTIP_FIELD_NUMBER: _ClassVar[int]
    ENDPOINTPORT_FIELD_NUMBER: _ClassVar[int]
    MESHIP_FIELD_NUMBER: _ClassVar[int]
    NODENAME_FIELD_NUMBER: _ClassVar[int]
    MESHIPS_FIELD_NUMBER: _ClassVar[int]
    BOOTSTRAP_FIELD_NUMBER: _ClassVar[int]
    ADMISSION_FIELD_NUMBER: _ClassVar[int]
    SECRETIDS_FIELD_NUMBER: _ClassVar[int]
    type: Peer.AnnouncementType
    pubkey: str
    endpointIP: str
    endpointPort: int
    meshIP: str
    nodeName: str
    meshIPs: _containers.RepeatedScalarFieldContainer[str]
    bootstrap: bool
    admission: AdmissionRecord
    secretIds: bytes
    def __init__(self, type: _Optional[_Union[Peer.AnnouncementType, str]] = ..., pubkey: _Optional[str] = ..., endpointIP: _Optional[str] = ..., endpointPort: _Optional[int] = ..., meshIP: _Optional[str] = ..., nodeName: _Optional[str] = ..., meshIPs: _Optional[_Iterable[str]] = ..., bootstrap: _Optional[bool] = ..., admission: _Optional[_Union[AdmissionRecord, _Mapping]] = ..., secretIds: _Optional[bytes] = ...) -> None: ...

class Admission(_message.Message):
    __slots__ = ("mesh", "node", "publicKey", "addresses", "notBefore", "notAfter", "routes")
    MESH_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    PUBLICKEY_FIELD_NUMBER: _ClassVar[int]
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    NOTBEFORE_FIELD_NUMBER: _ClassVar[int]
    NOTAFTER_FIELD_NUMBER: _ClassVar[int]
    ROUTES_FIELD_NUMBER: _ClassVar[int]
    mesh: str
    node: str
    publicKey: bytes
    addresses: _containers.RepeatedScalarFieldContainer[bytes]
    notBefore: int
    notAfter: int
    routes: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, mesh: _Optional[str] = ..., node: _Optional[str] = ..., publicKey: _Optional[bytes] = ..., addresses: _Optional[_Iterable[bytes]] = ..., notBefore: _Optional[int] = ..., notAfter: _Optional[int] = ..., routes: _Optional[_Iterable[bytes]] = ...) -> None: ...

class AdmissionRecord(_message.Message):
    __slots__ = ("admission", "signature", "signer", "certificates")
    ADMISSION_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    SIGNER_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATES_FIELD_NUMBER: _ClassVar[int]
    admission: bytes
    signature: bytes
    signer: bytes
    certificates: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, admission: _Optional[bytes] = ..., signature: _Optional[bytes] = ..., signer: _Optional[bytes] = ..., certificates: _Optional[_Iterable[bytes]] = ...) -> None: ...

class Whereabouts(_message.Message):
    __slots__ = ("endpoints",)
    ENDPOINTS_FIELD_NUMBER: _ClassVar[int]
    endpoints: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, endpoints: _Optional[_Iterable[bytes]] = ...) -> None: ...

class RelayRequest(_message.Message):
    __slots__ = ("asker", "peer", "relay")
    ASKER_FIELD_NUMBER: _ClassVar[int]
    PEER_FIELD_NUMBER: _ClassVar[int]
    RELAY_FIELD_NUMBER: _ClassVar[int]
    asker: str
    peer: str
    relay: str
    def __init__(self, asker: _Optional[str] = ..., peer: _Optional[str] = ..., relay: _Optional[str] = ...) -> None: ...

class RTTRequest(_message.Message):
    __slots__ = ("requestedBy",)
    REQUESTEDBY_FIELD_NUMBER: _ClassVar[int]
    requestedBy: str
    def __init__(self, requestedBy: _Optional[str] = ...) -> None: ...

class RTTResponseInfo(_message.Message):
    __slots__ = ("node", "rttMsec")
    NODE_FIELD_NUMBER: _ClassVar[int]
    RTTMSEC_FIELD_NUMBER: _ClassVar[int]
    node: str
    rttMsec: int
    def __init__(self, node: _Optional[str] = ..., rttMsec: _Optional[int] = ...) -> None: ...

class RTTResponse(_message.Message):
    __slots__ = ("node", "rtts")
    NODE_FIELD_NUMBER: _ClassVar[int]
    RTTS_FIELD_NUMBER: _ClassVar[int]
    node: str
    rtts: _containers.RepeatedCompositeFieldContainer[RTTResponseInfo]
    def __init__(self, node: _Optional[str] = ..., rtts: _Optional[_Iterable[_Union[RTTResponseInfo, _Mapping]]] = ...) -> None: ...
