import Testing

@testable import DeviceRPC

@Suite struct RPCValueTests {
  @Test func `literals become the cases they look like`() {
    let value: RPCValue = [
      "nothing": nil, "yes": true, "seven": 7, "sevenPointNought": 7.0, "text": "a",
      "list": [1, "b", [:]], "made": "n\(1)",
    ]
    #expect(value["nothing"] == .some(.null))
    #expect(value["yes"] == .bool(true))
    #expect(value["seven"] == .integer(7))
    #expect(value["sevenPointNought"] == .double(7))
    #expect(value["text"] == .string("a"))
    #expect(value["list"] == .array([.integer(1), .string("b"), .object(RPCObject())]))
    #expect(value["made"] == .string("n1"))
  }

  @Test func `7 and 7.0 are different values`() {
    #expect(RPCValue.integer(7) != .double(7))
    #expect(RPCValue(7) != RPCValue(7.0))
    #expect(RPCValue(Float(7)) == .double(7))
  }

  @Test func `initialisers take variables and literals`() {
    let (text, truth, list, object) = ("a", true, [RPCValue.null], RPCObject())
    #expect([RPCValue(text), RPCValue(truth)] == ["a", true])
    #expect(
      [RPCValue(list), RPCValue(object), RPCValue([1, 2]), RPCValue([])] == [
        [nil], [:], [1, 2], [],
      ])
  }

  @Test func `whole numbers go to the narrowest case that holds them exactly`() {
    #expect(RPCValue(UInt8.max) == .integer(255))
    #expect(RPCValue(Int64.min) == .integer(.min))
    #expect(RPCValue(UInt64(Int64.max)) == .integer(.max))
    #expect(RPCValue(UInt64(Int64.max) + 1) == .unsigned(1 << 63))
    #expect(RPCValue(UInt64.max) == .unsigned(.max))
    #expect(RPCValue(Int128(UInt64.max) + 1) == .double(0x1p64))
    #expect(RPCValue(Int128.min) == .double(-0x1p127))
    #expect(RPCValue.number(7) == .integer(7))
    #expect(RPCValue.number(1 << 63) == .unsigned(1 << 63))
  }

  @Test(
    arguments: [
      (.integer(1337), 1337), (.double(1337), 1337), (.double(-0.0), 0), (.double(1337.5), nil),
      (.double(.nan), nil), (.double(.infinity), nil), (.double(0x1p63), nil),
      (.double(-0x1p63), .min),
      (.double(1e300), nil), (.unsigned(.max), nil), (.integer(.min), .min), (.string("7"), nil),
      (.bool(true), nil), (.null, nil),
    ] as [(RPCValue, Int?)])
  func `intValue is exact or nil`(value: RPCValue, expected: Int?) {
    #expect(value.intValue == expected)
  }

  @Test func `doubleValue takes every number`() {
    #expect(RPCValue.integer(-7).doubleValue == -7)
    #expect(RPCValue.unsigned(.max).doubleValue == 0x1p64)
    #expect(RPCValue.double(0.5).doubleValue == 0.5)
    #expect(RPCValue.string("1").doubleValue == nil)
  }

  @Test func `accessors give nil for other kinds`() {
    let values: [RPCValue] = [.null, true, 1, "s", .bytes([1]), [1], ["k": 1]]
    #expect(values.map(\.isNull) == [true, false, false, false, false, false, false])
    #expect(values.map(\.boolValue) == [nil, true, nil, nil, nil, nil, nil])
    #expect(values.map(\.stringValue) == [nil, nil, nil, "s", nil, nil, nil])
    #expect(values.map(\.bytesValue) == [nil, nil, nil, nil, [1], nil, nil])
    #expect(values.map(\.arrayValue) == [nil, nil, nil, nil, nil, [1], nil])
    #expect(values.map(\.objectValue) == [nil, nil, nil, nil, nil, nil, ["k": 1]])
    #expect(values.map { $0["k"] } == [nil, nil, nil, nil, nil, nil, 1])
    #expect(values.map { $0[0] } == [nil, nil, nil, nil, nil, 1, nil])
  }

  @Test(arguments: [-1, 2, Int.min, Int.max])
  func `an index out of range gives nil`(index: Int) {
    #expect(RPCValue.array([1, 2])[index] == nil)
  }

  @Test func `the description is compact JSON`() {
    let value: RPCValue = ["b": [1, 1.0, nil, true, "x\n"], "a": .bytes([1, 2, 3, 255])]
    #expect("\(value)" == #"{"b":[1,1.0,null,true,"x\n"],"a":h'010203ff'}"#)
  }

  @Test func `what JSON cannot express has a description, too`() {
    #expect("\(RPCValue.array([.double(.nan), .double(-.infinity)]))" == "[NaN,-Infinity]")
    let tower = (0..<40).reduce(RPCValue.null) { inner, _ in [inner] }
    let brackets = String(repeating: "[", count: 32)
    #expect("\(tower)" == brackets + "\"…\"" + String(repeating: "]", count: 32))
  }
}

@Suite struct RPCObjectTests {
  @Test func `keeps the order in which members came`() {
    var object: RPCObject = ["z": 1, "a": 2]
    object["m"] = 3
    object["z"] = 4
    #expect(object.keys == ["z", "a", "m"])
    #expect(object.map(\.value) == [4, 2, 3])
    object["a"] = nil
    #expect(object.keys == ["z", "m"])
    #expect(object.count == 2)
    #expect(!object.isEmpty)
  }

  @Test func `equality and hash do not depend on order`() {
    let one: RPCObject = ["a": 1, "b": ["c": 2, "d": 3]]
    let other: RPCObject = ["b": ["d": 3, "c": 2], "a": 1]
    #expect(one == other)
    #expect(one.hashValue == other.hashValue)
    #expect(Set([RPCValue(one), RPCValue(other)]).count == 1)
  }

  @Test(
    arguments: [
      ["a": 1], ["a": 1, "b": 3], ["a": 1, "c": 2], ["a": 2, "b": 1], ["a": 1, "b": 2, "c": 3],
      ["a": 1, "b": 2.0],
    ] as [RPCObject])
  func `objects with other members are different`(other: RPCObject) {
    #expect(other != ["a": 1, "b": 2])
  }

  @Test func `of equal names in a literal the last counts`() {
    let object: RPCObject = ["a": 1, "b": 2, "a": 3]
    #expect(object == ["a": 3, "b": 2])
    #expect(RPCValue.object(object) == ["a": 1, "b": 2, "a": 3])
  }

  @Test func `replacing a member returns the one before`() {
    var object = RPCObject()
    #expect(object.updateValue(1, forKey: "a") == nil)
    #expect(object.updateValue(2, forKey: "a") == 1)
    #expect("\(object)" == #"{"a":2}"#)
  }

  @Test func `holds 50,000 members`() {
    let object = RPCObject((0..<50_000).map { ("key\($0)", RPCValue($0)) })
    #expect(object.count == 50_000)
    #expect(object["key49999"] == 49_999)
    #expect(object == RPCObject(object.reversed().map { ($0.key, $0.value) }))
  }
}
