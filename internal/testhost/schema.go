package testhost

// CloseObjects has every object of a JSON Schema refuse what it does not describe.
func CloseObjects(v any) {
	switch v := v.(type) {
	case map[string]any:
		if _, has := v["additionalProperties"]; v["type"] == "object" && !has {
			v["additionalProperties"] = false
		}
		for _, child := range v {
			CloseObjects(child)
		}
	case []any:
		for _, child := range v {
			CloseObjects(child)
		}
	}
}
