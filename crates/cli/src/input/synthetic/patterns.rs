//! What happens on a day: categories, how often, and how officers write about them.
//!
//! Frequencies: the top five of Huzhou's bulletin of 2022-08 (litter 24 %, car parking 21 %, piled
//! objects 12 %, laundry 8 %, bicycle parking 5 %; 88.5 % matters); the rest is spread over what
//! officers meet besides. Codes and names: GB/T 47678.5-2026. Time limits: the shortest rule of a
//! published city standard, in hours, a working day counted as eight.
//!
//! In texts `{spot}` stands for a place in the street, `{n}` for a small number, `{m}` for metres.

/// One category and the texts that go with it.
#[derive(Debug)]
pub(super) struct Pattern {
    /// Code of the matter category; its names are the national catalogue's.
    pub(super) code: &'static str,
    /// How many of a thousand requests.
    pub(super) per_mille: u64,
    /// Hours until it ought to be put right.
    pub(super) limit_hours: u64,
    /// What is said on the way to the closing.
    pub(super) theme: Theme,
    /// What is reported.
    pub(super) descriptions: &'static [&'static str],
    /// What is written at the closing: one for each description if there are as many, else any.
    pub(super) closings: &'static [&'static str],
}

/// What a request is about, as far as the remarks on it go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Theme {
    /// Somebody must clean.
    Cleaning,
    /// Stickers, sprays and banners.
    Posting,
    /// Cars.
    Parking,
    /// Bicycles, shared ones too.
    Bicycles,
    /// Shops, vendors, residents.
    Trade,
    /// A facility must be mended.
    Facility,
    /// A cover or grate in the road.
    Cover,
    /// Trees and lawns.
    Green,
}

impl Theme {
    /// Returns what people write on such a request between its opening and its closing, in the order
    /// in which it would be said.
    pub(super) const fn remarks(self) -> &'static [&'static str] {
        match self {
            Self::Cleaning => &[
                "与社区联系过，属于无物业小区，由街道保洁。",
                "已通知保洁员，{n}0分钟内到场。",
                "现场已拍照，量比较大，需要派清运车。",
                "保洁班组已到场，正在清理。",
                "清理到一半，还剩{n}袋，等清运车第二趟。",
                "复看过一次，又有人往原处丢，建议加一块提示牌。",
            ],
            Self::Posting => &[
                "已拍照取证，上面的电话号码已登记。",
                "联系了物业，下午统一处理。",
                "已清除一部分，还剩{n}处。",
                "有几处铲不掉，需要高压水枪。",
            ],
            Self::Parking => &[
                "早高峰这里一直这样，建议施划禁停线。",
                "已联系车主，答应{n}分钟后移车。",
                "联系不上车主，已转片区民警。",
                "现场已劝导，车主正在找车位。",
                "旁边停车场还有空位，已告知车主。",
            ],
            Self::Bicycles => &[
                "占了盲道，先把{n}辆搬到停放点。",
                "已联系企业运维人员，{n}0分钟内来调运。",
                "停放点已满，建议增划停车位。",
                "已扶起{n}辆，其余等志愿者一起搬。",
            ],
            Self::Trade => &[
                "已口头劝导，对方表示马上收拾。",
                "当事人不在，旁人说{n}分钟后回来，稍后再看。",
                "第{n}次劝导，仍有反复，已登记。",
                "已发放告知书，当事人已签字。",
                "周边居民反映晚上更多，建议夜班加一次巡查。",
            ],
            Self::Facility => &[
                "已放置警示锥桶，等养护单位。",
                "已联系权属单位，派单号已登记。",
                "与市政核对过，在保修期内，由施工单位修。",
                "养护人员已到场，缺配件，下午再来。",
                "正在抢修，行人暂时绕行。",
            ],
            Self::Cover => &[
                "已放置警示锥桶，派人看守。",
                "井盖上标识看不清，先按不明权属上报。",
                "已联系权属单位，答应两小时内到场。",
                "量过尺寸，直径{n}0厘米，已发给养护单位备料。",
                "养护人员已到场，正在更换。",
            ],
            Self::Green => &[
                "已通知绿化养护单位。",
                "已拉警戒带，行人绕行。",
                "养护人员看过，需要登高车。",
                "正在修剪，占用半条车道。",
            ],
        }
    }
}

/// Places in a street.
pub(super) const SPOTS: [&str; 18] = [
    "菜市场门口",
    "公交站旁",
    "小区北门",
    "小区南门",
    "人行道上",
    "非机动车道上",
    "河边绿道旁",
    "学校门口",
    "幼儿园对面",
    "超市门前",
    "垃圾房旁",
    "桥下",
    "停车场出口",
    "医院东侧",
    "药店门前",
    "快递驿站旁",
    "健身广场边",
    "工地围挡外",
];

/// Every pattern; the first five are the bulletin's.
pub(super) const PATTERNS: [Pattern; 29] = [
    Pattern {
        code: "06010",
        per_mille: 240,
        limit_hours: 4,
        theme: Theme::Cleaning,
        descriptions: &[
            "{spot}有暴露垃圾，约{n}平方米，有异味。",
            "{spot}堆了{n}袋生活垃圾，已经散开。",
            "{spot}散落快餐盒和塑料袋，风一吹到处都是。",
            "{spot}的果皮纸屑没有清扫，影响市容。",
            "{spot}有人丢弃的厨余垃圾，招苍蝇。",
        ],
        closings: &[
            "垃圾已清运，地面已冲洗。",
            "保洁员已清理干净，现场复核无残留。",
            "已清理，并在原处加了提示牌。",
        ],
    },
    Pattern {
        code: "09009",
        per_mille: 210,
        limit_hours: 2,
        theme: Theme::Parking,
        descriptions: &[
            "{spot}违停小客车{n}辆，占用人行道。",
            "{spot}一辆面包车压住盲道，行人只能走车行道。",
            "{spot}货车停在路口{m}米内卸货，挡视线。",
            "{spot}有车停在禁停线上，驾驶人不在车内。",
            "{spot}{n}辆车斜停，只剩一条车道能过。",
        ],
        closings: &[
            "车主已将车辆移走，道路恢复通行。",
            "经劝导已驶离，现场拍照留存。",
            "民警已贴单，车辆已移走。",
        ],
    },
    Pattern {
        code: "06036",
        per_mille: 120,
        limit_hours: 8,
        theme: Theme::Cleaning,
        descriptions: &[
            "{spot}堆放纸箱和泡沫箱，占道约{n}平方米。",
            "{spot}有人堆了旧木板和花盆，影响通行。",
            "{spot}放着{n}个空油桶，疑似旁边店铺的。",
            "楼道口到{spot}堆满杂物，有消防隐患。",
        ],
        closings: &[
            "杂物已清走，通道畅通。",
            "当事人已自行清理，现场整洁。",
            "社区已组织清理，共清出{n}车。",
        ],
    },
    Pattern {
        code: "06007",
        per_mille: 80,
        limit_hours: 2,
        theme: Theme::Trade,
        descriptions: &[
            "{spot}两棵树之间拉绳晾晒被子。",
            "{spot}护栏上晾着{n}件衣服。",
            "{spot}一家店门口晾晒拖把和毛巾，滴水到人行道。",
            "{spot}路灯杆上挂着衣架和床单。",
        ],
        closings: &[
            "居民已收回，绳子已拆除。",
            "衣物已收，护栏完好。",
            "店家已收回，地面已擦干。",
            "已取下，并告知小区晾晒点的位置。",
        ],
    },
    Pattern {
        code: "09010",
        per_mille: 50,
        limit_hours: 2,
        theme: Theme::Bicycles,
        descriptions: &[
            "{spot}电动自行车乱停{n}辆，占用盲道。",
            "{spot}非机动车停在停放区外，排到路口。",
            "{spot}一排自行车倒伏，挡住人行道。",
        ],
        closings: &["已摆放整齐，盲道已让出。", "已搬到停放点，并扶正倒车。"],
    },
    Pattern {
        code: "09005",
        per_mille: 35,
        limit_hours: 2,
        theme: Theme::Trade,
        descriptions: &[
            "{spot}一家水果店把货架摆出店外约{n}米。",
            "{spot}一家早餐店往外摆了{n}张桌子。",
            "{spot}一家五金店在门外切割钢管，噪声和火花都大。",
        ],
        closings: &[
            "货架已收回店内，人行道已让出。",
            "桌椅已收回，地面已清扫。",
            "已停止切割，发放告知书一份。",
        ],
    },
    Pattern {
        code: "07001",
        per_mille: 30,
        limit_hours: 8,
        theme: Theme::Posting,
        descriptions: &[
            "{spot}电线杆上贴了{n}张小广告。",
            "{spot}围墙喷涂办证电话，约{m}处。",
            "{spot}公交站牌被贴租房广告。",
        ],
        closings: &[
            "小广告已铲除。",
            "墙面已粉刷覆盖，电话号码已移交停机。",
            "站牌已清洗干净。",
        ],
    },
    Pattern {
        code: "09001",
        per_mille: 20,
        limit_hours: 2,
        theme: Theme::Trade,
        descriptions: &[
            "{spot}有流动摊贩卖水果，{n}个摊位。",
            "{spot}三轮车叫卖蔬菜，用高音喇叭。",
        ],
        closings: &["摊贩已劝离，地面已清扫。", "已引导到便民疏导点经营。"],
    },
    Pattern {
        code: "09006",
        per_mille: 20,
        limit_hours: 2,
        theme: Theme::Trade,
        descriptions: &[
            "{spot}烧烤摊占用非机动车道，油烟大。",
            "{spot}卖花的摊位占了{n}米人行道。",
        ],
        closings: &[
            "摊位已撤离，路面油污已冲洗。",
            "经劝导已收摊，人行道已让出。",
        ],
    },
    Pattern {
        code: "06012",
        per_mille: 18,
        limit_hours: 2,
        theme: Theme::Cleaning,
        descriptions: &[
            "{spot}路面有泥浆，长约{m}米。",
            "{spot}落叶积在路边，雨水口快堵了。",
        ],
        closings: &["路面已冲洗。", "已清扫，雨水口通畅。"],
    },
    Pattern {
        code: "06013",
        per_mille: 14,
        limit_hours: 40,
        theme: Theme::Facility,
        descriptions: &[
            "{spot}路面坑洞，深约{n}厘米。",
            "{spot}人行道板松动{n}块，踩上去会溅水。",
        ],
        closings: &["坑洞已填补，路面平整。", "人行道板已更换。"],
    },
    Pattern {
        code: "06042",
        per_mille: 12,
        limit_hours: 4,
        theme: Theme::Cleaning,
        descriptions: &[
            "{spot}垃圾桶满溢，{n}袋放在桶外。",
            "{spot}分类亭厨余桶满了，盖不上。",
        ],
        closings: &["已清运并换桶。", "清运车已收走，桶身已清洗。"],
    },
    Pattern {
        code: "09011",
        per_mille: 10,
        limit_hours: 2,
        theme: Theme::Bicycles,
        descriptions: &[
            "{spot}共享单车堆积约{m}辆。",
            "{spot}共享单车倒在绿化带里{n}辆。",
        ],
        closings: &["企业已调运，剩余车辆摆放整齐。", "已扶起并移到停放区。"],
    },
    Pattern {
        code: "07007",
        per_mille: 8,
        limit_hours: 8,
        theme: Theme::Posting,
        descriptions: &[
            "{spot}树间拉横幅促销，未见审批。",
            "{spot}护栏上绑了{n}块广告牌。",
        ],
        closings: &["横幅已拆除，树木未受损。", "当事人已自行拆除，护栏完好。"],
    },
    Pattern {
        code: "08002",
        per_mille: 6,
        limit_hours: 8,
        theme: Theme::Facility,
        descriptions: &[
            "{spot}施工占用车道{m}米，无公示牌。",
            "{spot}管道施工，夜间没有警示灯。",
        ],
        closings: &["占道材料已移走，公示牌已补。", "已加装警示灯和围挡。"],
    },
    Pattern {
        code: "06014",
        per_mille: 5,
        limit_hours: 4,
        theme: Theme::Cleaning,
        descriptions: &[
            "{spot}渣土遗撒约{m}米，车辆经过扬尘。",
            "{spot}路面有水泥浆，已开始凝固。",
        ],
        closings: &["遗撒已清理，路面已冲洗。", "已找到运输单位，自行清理完毕。"],
    },
    Pattern {
        code: "09012",
        per_mille: 4,
        limit_hours: 2,
        theme: Theme::Parking,
        descriptions: &["{spot}消防通道停了{n}辆车，消防车进不来。"],
        closings: &["车辆已移走，消防通道畅通。"],
    },
    Pattern {
        code: "10002",
        per_mille: 3,
        limit_hours: 2,
        theme: Theme::Facility,
        descriptions: &[
            "{spot}通信线缆下垂，离地不到{n}米。",
            "{spot}线缆掉在人行道上，权属不明。",
        ],
        closings: &["线缆已重新固定。", "权属单位已收紧线缆，隐患消除。"],
    },
    Pattern {
        code: "01037",
        per_mille: 20,
        limit_hours: 8,
        theme: Theme::Facility,
        descriptions: &[
            "{spot}路灯连着{n}盏不亮。",
            "{spot}路灯白天常亮。",
            "{spot}路灯检修门丢失，线头外露。",
        ],
        closings: &[
            "灯具已更换，夜间已亮。",
            "时控开关已调好，白天不再亮。",
            "检修门已补装，线头已包好。",
        ],
    },
    Pattern {
        code: "01003",
        per_mille: 15,
        limit_hours: 4,
        theme: Theme::Cover,
        descriptions: &[
            "{spot}雨水井盖破损，缺角约{n}厘米。",
            "{spot}雨水井盖松动，车压过有响声。",
        ],
        closings: &["井盖已更换。", "已加垫圈固定，不再响。"],
    },
    Pattern {
        code: "01004",
        per_mille: 10,
        limit_hours: 4,
        theme: Theme::Cover,
        descriptions: &[
            "{spot}雨水箅子被落叶堵住，积水约{n}厘米。",
            "{spot}雨水箅子断了{n}根。",
        ],
        closings: &["已疏通，积水退去。", "箅子已更换。"],
    },
    Pattern {
        code: "01002",
        per_mille: 8,
        limit_hours: 4,
        theme: Theme::Cover,
        descriptions: &[
            "{spot}污水井冒溢，有异味。",
            "{spot}污水井盖下沉约{n}厘米。",
        ],
        closings: &["管道已疏通，地面已冲洗消毒。", "井座已抬升，与路面齐平。"],
    },
    Pattern {
        code: "01007",
        per_mille: 7,
        limit_hours: 4,
        theme: Theme::Cover,
        descriptions: &["{spot}通信井盖缺失，已放锥桶。", "{spot}通信井盖破裂。"],
        closings: &["权属单位已补装井盖。"],
    },
    Pattern {
        code: "03005",
        per_mille: 15,
        limit_hours: 8,
        theme: Theme::Facility,
        descriptions: &["{spot}果皮箱门脱落。", "{spot}果皮箱被撞歪，底座松动。"],
        closings: &["箱门已装好。", "底座已重新固定，箱体已扶正。"],
    },
    Pattern {
        code: "02017",
        per_mille: 10,
        limit_hours: 8,
        theme: Theme::Facility,
        descriptions: &["{spot}护栏被撞倒{n}节。", "{spot}护栏移位，尖角朝外。"],
        closings: &["护栏已扶正固定。", "护栏已复位，尖角已处理。"],
    },
    Pattern {
        code: "04002",
        per_mille: 10,
        limit_hours: 16,
        theme: Theme::Green,
        descriptions: &[
            "{spot}行道树枯枝{n}根，有掉落危险。",
            "{spot}行道树倾斜，支撑断了。",
        ],
        closings: &["枯枝已锯除。", "树木已扶正，支撑已换。"],
    },
    Pattern {
        code: "02010",
        per_mille: 8,
        limit_hours: 16,
        theme: Theme::Facility,
        descriptions: &["{spot}标志牌被树枝挡住。", "{spot}限速牌倾斜，快要掉下来。"],
        closings: &["树枝已修剪，标志牌可见。", "标志牌已重新固定。"],
    },
    Pattern {
        code: "04013",
        per_mille: 7,
        limit_hours: 16,
        theme: Theme::Green,
        descriptions: &[
            "{spot}绿地被踩出一条路，裸土约{n}平方米。",
            "{spot}灌木枯死{n}株。",
        ],
        closings: &["已补种草皮，加了围绳。", "枯株已更换。"],
    },
    Pattern {
        code: "04007",
        per_mille: 5,
        limit_hours: 8,
        theme: Theme::Facility,
        descriptions: &["{spot}座椅木条断了{n}根，有钉子露出。"],
        closings: &["座椅木条已更换。"],
    },
];

#[cfg(test)]
mod tests {
    use gridbeat_domain::{Catalogue, CategoryKind};

    use super::*;

    #[test]
    fn frequencies_are_the_bulletins() {
        let sum = |part: bool| -> u64 {
            let of_kind = PATTERNS.iter().filter(|p| (p.code < "06") == part);
            of_kind.map(|p| p.per_mille).sum()
        };
        assert_eq!((sum(false), sum(true)), (885, 115), "88.5 % matters");
        let top: Vec<_> = PATTERNS[..5].iter().map(|p| p.per_mille).collect();
        assert_eq!(top, [240, 210, 120, 80, 50]);
    }

    #[test]
    fn every_pattern_has_texts_and_its_own_code() {
        let mut codes: Vec<_> = PATTERNS.iter().map(|p| p.code).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), PATTERNS.len());
        let catalogue = Catalogue::national();
        for pattern in &PATTERNS {
            assert!(catalogue.find(CategoryKind::Matter, pattern.code).is_some());
            assert!(!pattern.descriptions.is_empty() && !pattern.closings.is_empty());
        }
    }
}
