"""The places of many robots in one database: what it must do, Milvus behind it, and how a map's keyframes get there."""
