internal import DeviceRPC

/// The schemas of the OpenAPI document (JSON Schema 2020-12).
enum Schemas {
  static let all: [(String, RPCValue)] = [
    ("CallRequest", callRequest), ("Call", call), ("CallList", list("calls", of: "Call")), ("Device", device),
    ("DeviceList", list("devices", of: "Device")), ("Problem", problem), ("ProblemKind", problemKind),
    ("ProblemList", list("problems", of: "ProblemKind")), ("Health", health), ("Server", server), ("Document", ["type": "object"]),
    ("Events", events),
  ] + administration + golioth

  static let time: RPCValue = ["type": "string", "format": "date-time"]
  static let timeOrNull: RPCValue = ["type": ["string", "null"], "format": "date-time"]
  /// A UUID of version 7.
  static let callID: RPCValue = [
    "type": "string", "format": "uuid",
    "pattern": "^[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-7[0-9A-Fa-f]{3}-[89ABab][0-9A-Fa-f]{3}-[0-9A-Fa-f]{12}$",
  ]
  /// The name of a device that is to be added, or an identity.
  static let newName: RPCValue = [
    "type": "string", "minLength": 1, "maxLength": RPCValue(DeviceName.longest),
    "description": .string(
      "1 to \(DeviceName.longest) bytes of UTF-8 in Normalization Form C: visible characters that Unicode has assigned, and spaces "
        + "between them."),
  ]
  static let text: RPCValue = ["type": "string"]
  static let count: RPCValue = ["type": "integer", "minimum": 0]
  static let seconds: RPCValue = ["type": "number", "minimum": 0, "maximum": 86_400]
  static let limit: RPCValue = ["type": "integer", "minimum": 1, "maximum": 1_000, "default": 100]

  static let paramLimits =
    "Refused are whole numbers of more than 64 bits that no floating-point number is equal to, and values that are nested deeper than "
    + "\(JSONLimits.standard.maxDepth) levels."

  private static let callRequest: RPCValue = [
    "type": "object", "required": ["method"], "additionalProperties": false,
    "properties": [
      "method": [
        "type": "string", "minLength": 1, "pattern": "^[^\\u0000]*$",
        "description": "The name of the function that the firmware registered, without U+0000.",
      ],
      "params": ["type": "array", "items": .object(RPCObject()), "default": [], "description": .string("Positional parameters. \(paramLimits)")],
      "timeout": described(seconds, "Seconds to wait for the result; the server's default is 10."),
      "wait": described(seconds, "Seconds to wait for a device that is not connected; by default 0. A persistent call waits until it expires."),
      "oneWay": ["type": "boolean", "default": false, "description": "Whether no result is wanted."],
      "persistent": [
        "type": "object", "additionalProperties": false,
        "description": "Keep the call until it is done, also while the device is away and over restarts of the server. The answer is a 202.",
        "properties": [
          "expires": [
            "type": "number", "minimum": 0.001, "maximum": .double(CallPersistence.longest), "default": 86_400,
            "description": "Seconds after which it is given up.",
          ],
          "attempts": [
            "type": "integer", "minimum": 1, "maximum": RPCValue(CallPersistence.mostAttempts),
            "description": "How often the call may be sent, if it is repeatable; without it any number of times.",
          ],
          "repeatable": [
            "type": "boolean", "default": false,
            "description": "Whether the device may run it more than once. If not, what it may have run is never sent again.",
          ],
        ],
      ],
    ],
  ]

  private static let call: RPCValue = [
    "type": "object",
    "required": [
      "id", "wireId", "device", "method", "params", "oneWay", "state", "delivery", "safeToRepeat", "created", "sent",
      "acknowledged", "answered", "ended",
    ],
    "properties": [
      "id": described(callID, "Never used again (UUID version 7)."),
      "wireId": described(text, "The id that went to the device."),
      "device": text, "method": text, "params": ["type": "array", "items": .object(RPCObject())], "oneWay": ["type": "boolean"],
      "state": names(CallInfo.State.allCases.map(\.rawValue)),
      "status": [
        "type": "object", "required": ["code", "name"],
        "description": "The status of the device, with gRPC's numbers and names. Only where the device has answered.",
        "properties": ["code": ["type": "integer"], "name": text],
      ],
      "detail": ["description": "What the device sent with its status; null for nothing."],
      "roundTrip": ["type": "number", "description": "Seconds from sending the call to its result."],
      "error": [
        "type": "object", "required": ["type", "title", "detail"],
        "description": "Why the call has ended without an answer.",
        "properties": ["type": text, "title": text, "detail": text],
      ],
      "delivery": described(
        names(Delivery.allCases.map(\.rawValue)), "How far the call has certainly come."),
      "safeToRepeat": ["type": "boolean", "description": "Whether the device has certainly not run it."],
      "created": time, "sent": timeOrNull, "acknowledged": timeOrNull, "answered": timeOrNull, "ended": timeOrNull,
      "persistent": [
        "type": "object", "required": ["state", "expires", "attempt", "attempts", "repeatable", "reason"],
        "description": "Only of a persistent call.",
        "properties": [
          "state": names(PersistentCall.State.allCases.map(\.rawValue)), "expires": time,
          "attempt": described(count, "How often it was sent, as far as the device may have received it."),
          "attempts": ["type": ["integer", "null"]], "repeatable": ["type": "boolean"],
          "reason": ["type": ["string", "null"], "description": "Why it has failed, or why the last attempt has."],
        ],
      ],
    ],
  ]

  private static let device: RPCValue = [
    "type": "object",
    "required": ["name", "state", "since", "evidence", "address", "dialect", "firstSeen", "lastHeard", "openCalls", "registration"],
    "properties": [
      "name": text, "state": names(DeviceInfo.State.allCases.map(\.rawValue)), "since": timeOrNull,
      "evidence": described(text, "Why the device is taken to be in this state."),
      "address": ["type": ["string", "null"]], "dialect": ["type": ["string", "null"]], "firstSeen": timeOrNull,
      "lastHeard": timeOrNull, "openCalls": count,
      "registration": [
        "description": "What the server's store says of the device; null for a device that is not in it.",
        "anyOf": [OpenAPIDocument.reference("Registration"), ["type": "null"]],
      ],
      "key": described(text, "The key that the server has made for this request. It is not shown again."),
      "token": described(text, "The access token that the server has made for this request. It is not shown again."),
    ],
  ]

  private static let problem: RPCValue = [
    "type": "object", "required": ["type", "title", "status", "detail"],
    "description": "A problem document (RFC 9457).",
    "properties": [
      "type": described(names(ProblemKind.allCases.map(\.path)), "The kind of the problem, which is also a path that explains it."),
      "title": text, "status": ["type": "integer"], "detail": text,
      "delivery": described(names(Delivery.allCases.map(\.rawValue)), "For calls: how far the call has certainly come."),
      "safeToRepeat": ["type": "boolean"], "call": OpenAPIDocument.reference("Call"),
    ],
  ]

  private static let problemKind: RPCValue = [
    "type": "object", "required": ["type", "title", "status", "explanation"],
    "properties": ["type": text, "title": text, "status": ["type": "integer"], "explanation": text],
  ]

  private static let health: RPCValue = [
    "type": "object", "required": ["status"], "properties": ["status": text, "reason": text],
  ]

  private static let server: RPCValue = [
    "type": "object", "required": ["version", "started", "devices", "openCalls", "waiters", "tables"],
    "properties": [
      "version": text, "started": time,
      "devices": ["type": "object", "additionalProperties": count, "description": "Devices that are remembered, by state."],
      "openCalls": [
        "type": "object", "required": ["queued", "sent"], "properties": ["queued": count, "sent": count],
        "description": "Calls that wait to be sent, and calls that were sent and have not ended.",
      ],
      "waiters": described(count, "Requests that wait for the end of a call by its id."),
      "tables": [
        "type": "array",
        "items": [
          "type": "object", "required": ["name", "summary", "used", "limit"],
          "properties": ["name": names(ServerStatus.Table.Name.allCases.map(\.rawValue)), "summary": text, "used": count, "limit": count],
        ],
      ],
    ],
  ]

  private static let events: RPCValue = [
    "type": "string",
    "description": .string(
      "Server-Sent Events. The data of each are a JSON object on one line, with the time of the event and what belongs to it: "
        + EventDocument.names.map { "\($0.name) has \($0.members)" }.joined(separator: "; ")
        + ". A gap says that events are missing here, and how many, if that is known: its reason is slow-reader, server-busy, "
        + "forgotten or unknown-id, the last two for a Last-Event-ID. Comments keep the connection alive."),
  ]

  static func described(_ schema: RPCValue, _ text: String) -> RPCValue {
    guard case .object(var object) = schema else { return schema }
    object["description"] = .string(text)
    return .object(object)
  }

  static func names(_ values: [String]) -> RPCValue {
    ["type": "string", "enum": .array(values.map { .string($0) })]
  }

  static func list(_ member: String, of schema: String) -> RPCValue {
    let items: [(String, RPCValue)] = [("type", "array"), ("items", OpenAPIDocument.reference(schema))]
    return [
      "type": "object", "required": .array([.string(member)]),
      "properties": .object(RPCObject([(member, .object(RPCObject(items)))])),
    ]
  }
}
