internal import DeviceRPC

extension Schemas {
  /// Those of Golioth's management API, in which members that are not listed are ignored.
  static let golioth: [(String, RPCValue)] = [
    ("GoliothCall", goliothCall), ("GoliothResult", goliothResult), ("GoliothError", goliothError),
    ("GoliothProject", data(goliothProject)), ("GoliothProjectList", page(goliothProject)),
    ("GoliothDeviceList", page(goliothDevice)), ("GoliothDeviceData", data(goliothDevice)), ("GoliothNewDevice", goliothNewDevice),
    ("GoliothCredentialList", page(goliothCredential)), ("GoliothCredentialData", data(goliothCredential)),
    ("GoliothNewCredential", goliothNewCredential),
  ]

  static let goliothTime = described(seconds, "Seconds until the call ends; 0 for the default.", default: 10)
  static let goliothLastPage = Int(Int32.max)
  static let goliothPage: RPCValue = ["type": "integer", "minimum": 0, "maximum": RPCValue(goliothLastPage)]
  static let goliothPerPage: RPCValue = ["type": "integer", "minimum": 1, "maximum": 1_000, "default": 1_000]

  private static let strings: RPCValue = ["type": "array", "items": ["type": "string"]]

  private static let goliothCall: RPCValue = [
    "type": "object", "required": ["method"],
    "properties": [
      "method": ["type": "string", "minLength": 1],
      "params": [
        "description": .string(
          "Positional parameters. An object is allowed only if it is empty, and stands for an empty list. \(paramLimits)"),
        "anyOf": [["type": ["array", "null"]], ["type": "object", "maxProperties": 0]],
      ],
      "timeout": ["anyOf": [goliothTime, ["type": "null"]]],
    ],
  ]

  private static let goliothResult: RPCValue = [
    "type": "object", "required": ["statusCode", "detail"],
    "properties": [
      "statusCode": ["type": "integer", "description": "The status of the device, with gRPC's numbers."],
      "detail": ["description": "What the device sent with its status; {} for nothing."],
    ],
  ]

  private static let goliothError: RPCValue = [
    "type": "object", "required": ["code", "message", "details"],
    "properties": [
      "code": ["type": "integer", "description": "gRPC's number of what went wrong."], "message": text,
      "details": ["type": "array"],
    ],
  ]

  private static let goliothProject: RPCValue = [
    "type": "object", "required": ["id", "name", "organizationId"],
    "properties": ["id": text, "name": text, "organizationId": text],
  ]

  private static let goliothDevice: RPCValue = [
    "type": "object",
    "required": ["id", "name", "hardwareIds", "tagIds", "createdAt", "updatedAt", "enabled", "status", "lastReport", "metadata"],
    "properties": [
      "id": text, "name": text, "hardwareIds": strings, "tagIds": strings, "createdAt": timeOrNull, "updatedAt": timeOrNull,
      "enabled": ["type": "boolean"], "status": names(["online", "offline", "-"]), "lastReport": timeOrNull,
      "metadata": ["type": "object"],
    ],
  ]

  private static let goliothNewDevice: RPCValue = [
    "type": "object", "required": ["name"], "properties": ["name": newName],
  ]

  private static let goliothCredential: RPCValue = [
    "type": "object", "required": ["id", "type", "identity", "preSharedKey"],
    "properties": [
      "id": text, "type": names(["PRE_SHARED_KEY"]), "identity": text,
      "preSharedKey": ["type": ["string", "null"], "description": "The key; null for one that is not text."],
    ],
  ]

  private static let goliothNewCredential: RPCValue = [
    "type": "object", "required": ["identity", "preSharedKey"],
    "properties": [
      "type": names(["PRE_SHARED_KEY"]), "identity": newName,
      "preSharedKey": [
        "type": "string", "minLength": 1, "maxLength": RPCValue(DeviceKey.longest),
        "description": .string("1 to \(DeviceKey.longest) bytes of UTF-8."),
      ],
    ],
  ]

  private static func data(_ schema: RPCValue) -> RPCValue {
    ["type": "object", "required": ["data"], "properties": ["data": schema]]
  }

  private static func page(_ schema: RPCValue) -> RPCValue {
    ["type": "object", "required": ["list"], "properties": ["list": ["type": "array", "items": schema]]]
  }

  private static func described(_ schema: RPCValue, _ text: String, default: RPCValue) -> RPCValue {
    guard case .object(var object) = described(schema, text) else { return schema }
    object["default"] = `default`
    return .object(object)
  }
}
