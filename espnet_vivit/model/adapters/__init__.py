"""LoRA and QLoRA on the model's towers: small trained matrices beside frozen weights (peft, bitsandbytes)."""
