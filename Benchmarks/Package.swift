// swift-tools-version: 6.2
import PackageDescription

let package = Package(
  name: "rpc-bench",
  products: [
    .executable(name: "rpc-bench", targets: ["rpc-bench"]),
    .executable(name: "plain-libcoap-server", targets: ["plain-libcoap-server"]),
  ],
  dependencies: [
    .package(name: "swift-device-rpc", path: ".."),
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.5.0"),
    .package(url: "https://github.com/apple/swift-http-types", from: "1.8.0"),
    .package(url: "https://github.com/apple/swift-log", from: "1.6.0"),
    .package(url: "https://github.com/apple/swift-metrics", from: "2.9.0"),
    .package(url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.0"),
  ],
  targets: [
    .target(
      name: "CFleet",
      cSettings: [.unsafeFlags(["-O2", "-Wall", "-Wextra", "-Werror"])]),
    .executableTarget(
      name: "plain-libcoap-server",
      cSettings: [.unsafeFlags(["-O2", "-Wall", "-Wextra", "-Werror"])],
      linkerSettings: [.linkedLibrary("coap-3-openssl")]),
    .executableTarget(
      name: "rpc-bench",
      dependencies: [
        "CFleet",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
        .product(name: "DeviceRPC", package: "swift-device-rpc"),
        .product(name: "DeviceSimulator", package: "swift-device-rpc"),
        .product(name: "DeviceRPCCoAP", package: "swift-device-rpc"),
        .product(name: "DeviceRPCHTTP", package: "swift-device-rpc"),
        .product(name: "DeviceRPCStore", package: "swift-device-rpc"),
        .product(name: "HTTPTypes", package: "swift-http-types"),
        .product(name: "Hummingbird", package: "hummingbird"),
        .product(name: "Logging", package: "swift-log"),
        .product(name: "Metrics", package: "swift-metrics"),
      ],
      swiftSettings: [
        .enableUpcomingFeature("ExistentialAny"),
        .enableUpcomingFeature("InternalImportsByDefault"),
        .enableUpcomingFeature("MemberImportVisibility"),
        .treatAllWarnings(as: .error),
      ]),
  ],
  swiftLanguageModes: [.v6]
)
