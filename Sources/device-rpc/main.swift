print("device-rpc")
