internal import DeviceRPC

extension Schemas {
  /// Those of administration.
  static let administration: [(String, RPCValue)] = [
    ("NewDevice", newDevice), ("NewCredential", newCredential), ("NextCredential", nextCredential),
    ("Nothing", ["type": "object", "additionalProperties": false]), ("Credential", credential),
    ("CredentialList", list("credentials", of: "Credential")), ("Registration", registration),
    ("Metadata", metadata),
  ]

  private static let newDevice: RPCValue = [
    "type": "object", "additionalProperties": false, "properties": ["credential": OpenAPIDocument.reference("NewCredential")],
  ]

  private static let newCredential: RPCValue = ["anyOf": [key, certificate(required: ["kind"]), token]]
  private static let nextCredential: RPCValue = ["anyOf": [key, certificate(required: ["kind", "fingerprint"]), token]]

  private static let key: RPCValue = [
    "type": "object", "additionalProperties": false,
    "properties": [
      "kind": names([DeviceCredential.Kind.preSharedKey.rawValue]), "identity": identity,
      "key": [
        "type": "string", "minLength": 1, "maxLength": RPCValue(DeviceKey.longest),
        "description": "The key, 1 to 64 bytes. Without it the server makes one, which the answer has.",
      ],
    ],
  ]

  private static func certificate(required: RPCValue) -> RPCValue {
    [
      "type": "object", "additionalProperties": false, "required": required,
      "properties": [
        "kind": names([DeviceCredential.Kind.certificate.rawValue]), "identity": identity,
        "fingerprint": [
          "type": "string", "pattern": "^([0-9A-Fa-f]{2}:?){31}[0-9A-Fa-f]{2}$",
          "description": "The SHA-256 of the one certificate that is accepted; without it any with that identity.",
        ],
      ],
    ]
  }

  private static let token: RPCValue = [
    "type": "object", "additionalProperties": false, "required": ["kind"],
    "properties": [
      "kind": names([DeviceCredential.Kind.accessToken.rawValue]),
      "token": [
        "type": "string", "pattern": "^[!-.0-~]{1,255}$",
        "description": "The access token, of which only the SHA-256 is kept. Without it the server makes one, which the answer has.",
      ],
    ],
  ]

  private static let identity: RPCValue = [
    "type": "string", "minLength": 1, "maxLength": 128,
    "description": "The PSK identity, or the name in the certificate; by default the one that the device has, or else its name.",
  ]

  private static let credential: RPCValue = [
    "type": "object", "required": ["kind", "identity", "fingerprint", "created", "rotated"],
    "properties": [
      "kind": names(DeviceCredential.Kind.allCases.map(\.rawValue)), "identity": text, "fingerprint": ["type": ["string", "null"]],
      "created": time, "rotated": timeOrNull,
    ],
  ]

  private static let registration: RPCValue = [
    "type": "object", "required": ["enabled", "created", "lastSeen"],
    "properties": [
      "enabled": ["type": "boolean", "description": "Whether the device may connect."], "created": time, "lastSeen": timeOrNull,
      "credentials": [
        "type": "array", "items": OpenAPIDocument.reference("Credential"),
        "description": "Only for keys that may administer the device.",
      ],
    ],
  ]

  private static let metadata: RPCValue = [
    "type": "object", "required": ["metadata"], "additionalProperties": false,
    "properties": [
      "metadata": [
        "type": "object",
        "description": .string(
          "At most \(DeviceMetadata.longestJSON) bytes. The server does not look into it; its console uses the member panels."),
      ]
    ],
  ]
}
