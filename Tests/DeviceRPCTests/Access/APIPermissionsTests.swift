import DeviceRPC
import Foundation
import TestSupport
import Testing

@Suite struct APIPermissionsTests {
  @Test func `without further words a key may call and read, and not administer`() {
    let permissions = APIPermissions.standard
    #expect(permissions.mayCall("reboot", on: "sensor-1"))
    #expect(permissions.mayRead("sensor-1"))
    #expect(!permissions.mayAdminister("sensor-1"))
    #expect(APIPermissions.all.mayAdminister("sensor-1"))
    #expect(APIPermissions.all.mayCall("", on: ""))
  }

  @Test func `nothing is nothing`() {
    for device in ["", "sensor-1"] {
      #expect(!APIPermissions.none.mayCall("reboot", on: device))
      #expect(!APIPermissions.none.mayRead(device))
      #expect(!APIPermissions.none.mayAdminister(device))
    }
    // One of the two is enough.
    #expect(!APIPermissions(devices: .only(names: [])).mayCall("reboot", on: "sensor-1"))
    #expect(!APIPermissions(methods: .none).mayCall("reboot", on: "sensor-1"))
  }

  @Test func `the devices of a key hold for calling, reading and administering`() {
    let permissions = APIPermissions(
      devices: .only(names: ["pump", "valve-1"], prefixes: ["plant-"]), methods: .only(["reboot"]), allowsAdministering: true)
    for device in ["pump", "valve-1", "plant-", "plant-7"] {
      #expect(permissions.mayCall("reboot", on: device))
      #expect(!permissions.mayCall("erase", on: device))
      #expect(permissions.mayRead(device))
      #expect(permissions.mayAdminister(device))
    }
    for device in ["", "Pump", "pump-1", "valve-", "plant", "a plant-7"] {
      #expect(!permissions.mayCall("reboot", on: device))
      #expect(!permissions.mayRead(device))
      #expect(!permissions.mayAdminister(device))
    }
  }

  @Test func `names are compared as bytes`() {
    let permissions = APIPermissions(
      devices: .only(names: ["caf\u{e9}"], prefixes: ["\u{e9}"]), methods: .only(["caf\u{e9}"]))
    #expect(permissions.mayCall("caf\u{e9}", on: "caf\u{e9}"))
    #expect(permissions.mayRead("\u{e9}t\u{e9}"))
    #expect(!permissions.mayCall("cafe\u{301}", on: "caf\u{e9}"))
    #expect(!permissions.mayCall("caf\u{e9}", on: "cafe\u{301}"))
    #expect(!permissions.mayRead("e\u{301}t\u{e9}"))
    // The letter and the mark that follows it are one character for Swift, and two in the name.
    #expect(APIPermissions(devices: .only(names: [], prefixes: ["q"])).mayRead("q\u{301}"))
  }

  @Test(
    arguments: [
      APIPermissions.standard, .all, .none,
      APIPermissions(
        devices: .only(names: ["b", "a"], prefixes: ["plant-", ""]), methods: .only(["reboot"]), allowsReading: false),
    ])
  func `permissions are read as they were written`(permissions: APIPermissions) throws {
    #expect(APIPermissions(permissions.value) == permissions)
    let text = permissions.value.description
    #expect(APIPermissions(try JSONReader.read(Array(text.utf8))) == permissions)
  }

  @Test func `permissions as JSON have their names in order`() {
    let permissions = APIPermissions(devices: .only(names: ["b", "a"], prefixes: ["plant-"]), allowsReading: false)
    #expect(
      permissions.value.description
        == #"{"devices":{"names":["a","b"],"prefixes":["plant-"]},"methods":"all","read":false,"administer":false}"#)
  }

  @Test(
    arguments: [
      "null", "[]", "{}", #""all""#, #"{"devices":"all","methods":"all","read":true}"#,
      #"{"devices":"all","methods":"all","read":true,"administer":1}"#,
      #"{"devices":"none","methods":"all","read":true,"administer":true}"#,
      #"{"devices":["a"],"methods":"all","read":true,"administer":true}"#,
      #"{"devices":{"names":["a"]},"methods":"all","read":true,"administer":true}"#,
      #"{"devices":{"names":["a"],"prefixes":[7]},"methods":"all","read":true,"administer":true}"#,
      #"{"devices":{"names":[],"prefixes":[],"not":[]},"methods":"all","read":true,"administer":true}"#,
      #"{"devices":"all","methods":{"not":["a"]},"read":true,"administer":true}"#,
      #"{"devices":"all","methods":[null],"read":true,"administer":true}"#,
      #"{"devices":"all","methods":"all","read":true,"administer":true,"until":7}"#,
    ])
  func `what is not understood gives no permissions`(text: String) throws {
    #expect(APIPermissions(try JSONReader.read(Array(text.utf8))) == nil)
  }
}
