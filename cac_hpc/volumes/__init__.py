"""One study in, one volume in the patient's frame out, or the reason why not."""
