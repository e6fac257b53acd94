package aliyun

func runChild(string) {}
